"""Archives: what is unpacked, and everything that is refused with the entry's name."""

import asyncio
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from pathlib import Path

import pytest
import zstandard

from trackside.adapters.archives.limits import ArchiveLimits, Stopped
from trackside.adapters.archives.unpack import unpack_apart, unpack_archive
from trackside.rooms.builds.errors import ArchiveRefused

Entry = tuple[str, bytes | str, bytes]
"""(name, content or link target, tar type)"""


def a_tar(*entries: Entry) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, kind in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.mode = 0o6777
            if isinstance(content, str):
                entry.linkname = content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def file(name: str, content: bytes = b"x") -> Entry:
    return name, content, tarfile.REGTYPE


def link(name: str, target: str) -> Entry:
    return name, target, tarfile.SYMTYPE


def hard(name: str, target: str) -> Entry:
    return name, target, tarfile.LNKTYPE


async def test_a_cancelled_upload_is_unpacked_no_further(tmp_path: Path) -> None:
    """Its tree is removed at once: whatever wrote on would leave gigabytes behind."""
    entries, into, threads = 20_000, tmp_path / "into", ThreadPoolExecutor(1)
    (tmp_path / "archive").write_bytes(a_tar(*(file(f"{number}.txt") for number in range(entries))))
    into.mkdir()
    asyncio.get_running_loop().set_default_executor(threads)
    unpacking = asyncio.ensure_future(unpack_apart(tmp_path / "archive", into, ArchiveLimits()))
    async with asyncio.timeout(30):
        while not any(into.iterdir()):
            await asyncio.sleep(0)
    unpacking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unpacking
    written = len(list(into.iterdir()))
    threads.shutdown()
    assert len(list(into.iterdir())) == written < entries


def test_unpacking_stops_within_a_file_and_while_links_are_looked_at(tmp_path: Path) -> None:
    entries = (file("large", b"x" * (4 << 20)), link("a", "large"))
    (tmp_path / "archive").write_bytes(a_tar(*entries))
    for looks in range(7):  # 2 entries, 4 pieces, 1 link
        into = tmp_path / str(looks)
        into.mkdir()
        answers = chain([False] * looks, repeat(True))
        with pytest.raises(Stopped):
            unpack_archive(tmp_path / "archive", into, ArchiveLimits(), lambda answers=answers: next(answers))
    assert (into / "a").is_symlink()


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[..., Path]:
    def run(content: bytes, **limits: float) -> Path:
        (tmp_path / "archive").write_bytes(content)
        into = tmp_path / "into"
        into.mkdir()
        unpack_archive(tmp_path / "archive", into, ArchiveLimits(**limits))  # type: ignore[arg-type]
        return into

    return run


GOOD = a_tar(file("a.txt", b"one"), file("sub/b.sh", b"two"), link("sub/c", "../a.txt"), hard("d", "a.txt"))


@pytest.mark.parametrize(
    "pack", [lambda x: x, lambda x: gz(x), lambda x: zstandard.compress(x)], ids=["tar", "gz", "zst"]
)
def test_every_packing_is_unpacked(unpack: Callable[..., Path], pack: Callable[[bytes], bytes]) -> None:
    into = unpack(pack(GOOD))
    assert (into / "a.txt").read_bytes() == (into / "sub/c").read_bytes() == (into / "d").read_bytes() == b"one"
    assert (into / "sub/b.sh").read_bytes() == b"two"
    assert stat.S_IMODE((into / "a.txt").stat().st_mode) == 0o755


def gz(content: bytes) -> bytes:
    return gzip.compress(content)


def test_a_zip_is_unpacked(unpack: Callable[..., Path]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sub/", "")
        archive.writestr("sub/a.txt", "one")
        entry = zipfile.ZipInfo("l")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "sub/a.txt")
    into = unpack(buffer.getvalue())
    assert (into / "l").read_text() == "one"


HOSTILE = {
    "absolute": [file("/etc/evil")],
    "parent": [file("../evil")],
    "parent inside": [file("a/../../evil")],
    "parent that comes back": [file("a/../evil")],
    "windows path": [file("C:\\evil")],
    "backslash root": [file("\\evil")],
    "control character": [file("evil\n")],
    "absolute link": [link("evil", "/etc/passwd")],
    "link out": [link("evil", "../x")],
    "link deep out": [file("a/b/x"), link("a/b/evil", "../../../x")],
    "through a link": [file("a/x"), link("l", "a"), file("l/evil")],
    "through a link out": [link("evil", ".."), file("evil/y")],
    "by way of another link": [file("p/q/r/x"), link("p/q/r/l", "../../.."), link("p/q/r/evil", "l/../x")],
    "link made before its way": [link("evil", "a/../../x"), file("a/x")],
    "circle": [link("evil", "evil2"), link("evil2", "evil")],
    "empty link": [link("evil", "")],
    "hard link out": [hard("evil", "../x")],
    "hard link absolute": [hard("evil", "/etc/passwd")],
    "hard link to nothing": [hard("evil", "missing")],
    "hard link to a link": [file("a"), link("l", "a"), hard("evil", "l")],
    "hard link through a link": [file("a/x"), link("l", "a"), hard("evil", "l/x")],
    "device": [("evil", b"", tarfile.CHRTYPE)],
    "block device": [("evil", b"", tarfile.BLKTYPE)],
    "pipe": [("evil", b"", tarfile.FIFOTYPE)],
    "file and directory": [file("evil"), file("evil/x")],
    "directory and file": [file("evil/x"), file("evil")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_escape_is_refused_by_name(unpack: Callable[..., Path], tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("outside")
    with pytest.raises(ArchiveRefused, match="evil"):
        unpack(a_tar(*HOSTILE[name]))
    assert {path.name for path in tmp_path.iterdir()} == {"x", "into", "archive"}
    assert (tmp_path / "x").read_text() == "outside"


@pytest.mark.parametrize(
    ("entries", "limits"),
    [
        ([file("evil", bytes(5000))], {"bytes": 4999}),
        ([file("a", bytes(3000)), file("evil", bytes(3000))], {"bytes": 5000}),
        ([file("a"), file("b"), file("evil")], {"entries": 2}),
        ([file("evil" * 40)], {"path_bytes": 100}),
        ([file("a", bytes(3000)), hard("b", "a"), hard("evil", "b")], {"bytes": 8000}),
    ],
)
def test_what_could_flood_is_refused_by_name(
    unpack: Callable[..., Path], entries: list[Entry], limits: dict[str, float]
) -> None:
    with pytest.raises(ArchiveRefused, match="evil"):
        unpack(a_tar(*entries), **limits)


@pytest.mark.parametrize("pack", [gz, zstandard.compress], ids=["gz", "zst"])
def test_a_bomb_is_refused_by_its_ratio(unpack: Callable[..., Path], pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(a_tar(file("evil", bytes(8 << 20))))
    with pytest.raises(ArchiveRefused, match="times its size"):
        unpack(bomb, free_bytes=1 << 20)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x1f\x8b\x08", b"PK\x03\x04garbage", b"\x28\xb5\x2f\xfd!", GOOD[:700], gz(GOOD)[:60], bytes(511)],
)
def test_what_is_no_archive_is_refused(unpack: Callable[..., Path], content: bytes) -> None:
    with pytest.raises(ArchiveRefused, match=r"can't be read|packed in a way"):
        unpack(content)


def test_an_encrypted_entry_is_refused(unpack: Callable[..., Path]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil", "x")
    content = bytearray(buffer.getvalue())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ArchiveRefused, match="encrypted"):
        unpack(bytes(content))
