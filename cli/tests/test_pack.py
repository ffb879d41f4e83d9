"""Packing: what an upload holds, and that it never grows in memory."""

import gzip
import io
import os
import socket
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from trackside_cli.errors import FileError, UsageError
from trackside_cli.pack import stream, survey


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def nothing(done: int) -> None:
    """Nobody listens."""


def archive(directory: Path) -> tarfile.TarFile:
    packed = b"".join(stream(survey(directory), nothing))
    return tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed)))


def files(directory: Path) -> list[str]:
    return [member.name for member in archive(directory) if member.isfile()]


def test_git_and_our_own_state_are_never_packed(tmp_path: Path) -> None:
    tree(tmp_path, {".git/config": "", "sub/.git": "", ".trackside/keys": "", ".trackside.json": "{}", "main.py": ""})
    (tmp_path / ".gitignore").write_text("!.git\n!.trackside\n")
    assert files(tmp_path) == [".gitignore", "main.py"]


def test_nested_rules_and_negations_hold(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            ".gitignore": "*.log\nnode_modules/\n",
            "a.log": "",
            "web/.gitignore": "!keep.log\n/dist\n",
            "web/keep.log": "",
            "web/dist/x": "",
            "web/src/dist/y": "",
            "node_modules/left/index.js": "",
        },
    )
    assert files(tmp_path) == [".gitignore", "web/.gitignore", "web/keep.log", "web/src/dist/y"]


def test_tracksideignore_has_the_last_word(tmp_path: Path) -> None:
    rules = {".gitignore": "dist/\n", ".tracksideignore": "!dist/\ntests/\n", "sub/.tracksideignore": "*.md\n"}
    tree(tmp_path, {**rules, "dist/app.js": "", "tests/t.py": "", "sub/a.md": "", "b.md": ""})
    assert files(tmp_path) == [".gitignore", ".tracksideignore", "b.md", "dist/app.js", "sub/.tracksideignore"]


def test_rules_above_the_directory_hold_up_to_the_root_of_the_repository(tmp_path: Path) -> None:
    tree(tmp_path, {".gitignore": "*.py\n"})
    repository = tree(tmp_path / "repository", {".git/HEAD": "", ".gitignore": "*.log\n/apps/web/out\n"})
    tree(repository / "apps" / "web", {"a.log": "", "out/x": "", "main.py": ""})
    assert files(repository / "apps" / "web") == ["main.py"]


def test_content_modes_links_and_names_survive(tmp_path: Path) -> None:
    tree(tmp_path, {"run.sh": "#!/bin/sh\n", f"{'long/' * 40}é\n.txt": "odd", "empty": ""})
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "link").symlink_to("run.sh")
    (tmp_path / "nowhere").symlink_to("/does/not/exist")
    (tmp_path / os.fsdecode(b"raw\xff")).write_text("bytes")
    (tmp_path / "hollow").mkdir()
    with archive(tmp_path) as packed:
        assert packed.getmember("run.sh").mode == 0o755
        assert packed.getmember("run.sh").uid == 0
        assert packed.getmember("link").linkname == "run.sh"
        assert packed.getmember("nowhere").issym()
        assert packed.getmember("hollow").isdir()
        assert packed.extractfile(f"{'long/' * 40}é\n.txt").read() == b"odd"  # pyright: ignore[reportOptionalMemberAccess]
        assert os.fsdecode(b"raw\xff") in packed.getnames()


def test_equal_trees_pack_equally(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tree(tmp_path / name, {"b": "2", "a/c": "1"})
        for path in (tmp_path / name).rglob("*"):
            os.utime(path, (1, 1))
    one, two = (b"".join(stream(survey(tmp_path / name), nothing)) for name in ("one", "two"))
    assert one == two


def test_what_no_archive_can_carry_is_told(tmp_path: Path) -> None:
    tree(tmp_path, {"a": ""})
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
    assert survey(tmp_path).skipped == ("pipe", "s")
    assert files(tmp_path) == ["a"]


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        survey(tmp_path / "missing")


def test_a_file_that_shrinks_while_it_is_packed_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, {"a": "12345"})
    found = survey(tmp_path)
    (tmp_path / "a").write_text("1")
    with pytest.raises(FileError, match="shrank"):
        list(stream(found, nothing))


def test_a_file_that_grows_is_packed_as_it_was_seen(tmp_path: Path) -> None:
    tree(tmp_path, {"a": "123", "b": "x"})
    found = survey(tmp_path)
    (tmp_path / "a").write_text("123456")
    packed = b"".join(stream(found, nothing))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as whole:
        assert whole.extractfile("a").read() == b"123"  # pyright: ignore[reportOptionalMemberAccess]
        assert whole.getnames() == ["a", "b"]


def test_a_file_that_vanishes_is_an_error_that_names_it(tmp_path: Path) -> None:
    tree(tmp_path, {"a": "1"})
    found = survey(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(FileError, match="a can't be read"):
        list(stream(found, nothing))


def test_progress_counts_every_byte_of_files(tmp_path: Path) -> None:
    tree(tmp_path, {"a": "x" * 700_000, "b": "y" * 10})
    heard: list[int] = []
    found = survey(tmp_path)
    list(stream(found, heard.append))
    assert heard[-1] == found.size_bytes == 700_010
    assert heard == sorted(heard)


def test_memory_does_not_grow_with_the_upload(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(128 << 20)
    found = survey(tmp_path)
    tracemalloc.start()
    for _ in stream(found, nothing):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
