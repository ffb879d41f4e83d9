"""A tree on disk shows its own files and nothing of the machine."""

from pathlib import Path

import pytest

from trackside_planner import DirectoryTree


def test_files_are_listed_without_what_tools_leave(tmp_path: Path) -> None:
    for name in ("a.py", "sub/b.py", "node_modules/c.js", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert DirectoryTree(tmp_path).files() == ("a.py", "sub/b.py")


@pytest.mark.parametrize(
    "path", ["../outside.txt", "link.txt", "linked/outside.txt", "/etc/passwd", "missing", "sub", "round"]
)
def test_nothing_outside_is_read(tmp_path: Path, path: str) -> None:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    (root / "linked").symlink_to(tmp_path)
    (root / "round").symlink_to("round")
    assert DirectoryTree(root).text(path) is None


def test_a_link_within_the_tree_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert DirectoryTree(tmp_path).text("b.txt") == "x"


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_bytes(b"\xff\xfe\0")
    assert DirectoryTree(tmp_path).text("main.py") is not None
