"""Packing: what an upload holds, and that it never grows in memory."""

import gzip
import io
import os
import socket
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from harness import Run
from trackside_cli.errors import FileError, NameRefused, UsageError
from trackside_cli.pack import check, stream, survey
from twin import Platform


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


@pytest.mark.parametrize(
    ("name", "flaw"),
    [
        (os.fsdecode(b"raw\xff"), "is not UTF-8"),
        ("line\nbreak", "has control characters"),
        ("C:\\boot.ini", "is an absolute path on other systems"),
        ("long/" * 409 + "names", "is too long"),
    ],
)
def test_a_name_that_the_platform_would_refuse_is_refused_before_anything_is_sent(
    trackside: Run, platform: Platform, tmp_path: Path, name: str, flaw: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    ran = trackside("up", str(tmp_path))
    assert (ran.code, flaw in ran.err, "cli.name_refused" in ran.err) == (2, True, True)
    assert platform.projects == []
    (tmp_path / ".tracksideignore").write_text("*\n!.tracksideignore\n")
    check(survey(tmp_path))


@pytest.mark.parametrize("target", ["/etc/passwd", "../other", "sub/../../other", "a\nb", "twice"])
def test_a_link_that_the_platform_would_refuse_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "twice").symlink_to("../other")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(NameRefused, match="`link`"):
        check(survey(tmp_path))


def test_a_link_through_what_is_not_uploaded_leads_to_nothing_and_is_taken(tmp_path: Path) -> None:
    tree(tmp_path, {".gitignore": "modules\n", "sub/file": ""})
    (tmp_path / "modules").symlink_to("/usr/lib")
    (tmp_path / "tool").symlink_to("modules/tool")
    (tmp_path / "sub" / "up").symlink_to("../sub/file")
    check(survey(tmp_path))


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


PROGRAM = """
import sys
from pathlib import Path
from trackside_cli.pack import stream, survey

sent = sum(len(piece) for piece in stream(survey(Path(sys.argv[1])), lambda done: None))
print(sent, next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def test_packing_many_files_and_bytes_takes_no_more_memory_than_few(tmp_path: Path) -> None:
    """Measured in processes of their own: what 3,000 files of 96 MiB take beyond what ten of 1 MiB do."""
    peaks: list[int] = []
    for name, files, size in (("few", 10, 1 << 20), ("many", 3000, 96 << 20)):
        content = os.urandom(size // files)
        for number in range(files):
            (tmp_path / name / f"d{number % 50}").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / f"d{number % 50}" / f"f{number}").write_bytes(content)
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / name)]
        sent, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(sent) > size * 0.5
        peaks.append(int(peak) << 10)
    assert peaks[1] - peaks[0] < 16 << 20
