"""Whatever an archive holds, nothing lands outside, nothing fills the memory, and what is refused is refused by name."""

import gzip
import io
import os
import stat
import tarfile
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trackside.adapters.archives.limits import ArchiveLimits
from trackside.adapters.archives.unpack import unpack_archive
from trackside.rooms.builds.errors import ArchiveRefused

Pack = Callable[[Sequence["Thing"]], bytes]
LIMITS = ArchiveLimits(bytes=1 << 20, entries=50)
MEBIBYTE = 1 << 20
pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")


@dataclass(frozen=True)
class Thing:
    """An entry of an archive: `kind` is a file type of `stat`, or None for a hard link."""

    name: str
    kind: int | None
    target: str = ""
    mode: int = 0o6777


TAR_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    None: tarfile.LNKTYPE,
}


def a_tar(things: Sequence[Thing]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for thing in things:
            entry = tarfile.TarInfo(thing.name)
            entry.type, entry.linkname, entry.mode = TAR_TYPES[thing.kind], thing.target, thing.mode
            content = b"content" if thing.kind == stat.S_IFREG else b""
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def a_zip(things: Sequence[Thing]) -> bytes:
    """Hard links, which a zip has not, are left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for thing in things:
            if thing.kind is None:
                continue
            entry = zipfile.ZipInfo(thing.name + "/" * (thing.kind == stat.S_IFDIR))
            entry.external_attr = (thing.kind | thing.mode) << 16
            archive.writestr(entry, thing.target if thing.kind == stat.S_IFLNK else "content")
    return buffer.getvalue()


PACKS: dict[str, Pack] = {
    "tar": a_tar,
    "tar.gz": lambda things: gzip.compress(a_tar(things), 1),
    "tar.zst": lambda things: zstandard.compress(a_tar(things)),
    "zip": a_zip,
}
parts = st.sampled_from(["a", "b", "l", "m", "..", ".", "", "é", "x" * 256, "raw\udcff", "nul\1"])
likely = st.sampled_from(["a", "b", "l", "m", ".."])
paths = st.one_of(
    st.lists(likely, min_size=1, max_size=4).map("/".join),
    st.lists(parts, min_size=1, max_size=4).map("/".join),
    st.sampled_from(["/etc/evil", "\\evil", "C:\\evil", "/", "."]),
)
kinds = st.sampled_from([stat.S_IFREG, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFLNK, None, stat.S_IFIFO])
things = st.lists(st.builds(Thing, paths, kinds, paths), max_size=8)


def judged(content: bytes, root: Path) -> ArchiveRefused | None:
    """Unpack into `root/in/to`, beside which lie a file and a directory that must stay as they are."""
    into = root / "in" / "to"
    into.mkdir(parents=True)
    (root / "archive").write_bytes(content)
    (root / "a").write_text("outside")
    (root / "in" / "b").mkdir()
    try:
        unpack_archive(root / "archive", into, LIMITS)
    except ArchiveRefused as error:
        return error
    finally:
        assert sorted(os.listdir(root)) == ["a", "archive", "in"]
        assert (root / "a").read_text() == "outside"
        assert sorted(os.listdir(root / "in")) == ["b", "to"]
        assert os.listdir(root / "in" / "b") == []
        assert not Path("/etc/evil").exists()
    for path in into.rglob("*"):
        assert path.resolve().is_relative_to(into.resolve()), "a link leads out"
        mode = path.lstat().st_mode
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
        assert not mode & (stat.S_ISUID | stat.S_ISGID)
    return None


@pytest.mark.parametrize("pack", PACKS)
@given(found=things)
@example(found=[Thing("", stat.S_IFREG)])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_an_archive_holds_nothing_lands_outside(pack: str, found: list[Thing]) -> None:
    try:
        content = PACKS[pack](found)
    except (ValueError, UnicodeError):
        return  # no such archive can be packed
    with tempfile.TemporaryDirectory() as directory:
        refusal = judged(content, Path(directory))
    if refusal is not None:
        assert refusal.code == "builds.archive_refused"
        assert refusal.sentence.startswith("The archive ")
        assert refusal.sentence.isprintable()
        assert refusal.hint


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12), st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_archive_is_unpacked_or_refused_and_never_breaks_the_builder(
    flips: list[tuple[int, int]], data: st.DataObject
) -> None:
    good = [Thing("a", stat.S_IFREG), Thing("d", stat.S_IFDIR), Thing("d/" + "n" * 120, stat.S_IFREG)]
    content = bytearray(PACKS[data.draw(st.sampled_from(sorted(PACKS)))](good))
    for place, value in flips:
        content[place % len(content)] = value
    with tempfile.TemporaryDirectory() as directory:
        judged(bytes(content), Path(directory))


EVIL = "evil"
REFUSED: dict[str, list[Thing]] = {
    "twice the same file": [Thing(EVIL, stat.S_IFREG), Thing(f"./{EVIL}", stat.S_IFREG)],
    "a file after a link of its name": [Thing("a", stat.S_IFREG), Thing(EVIL, stat.S_IFLNK, "a"), Thing(EVIL, stat.S_IFREG)],
    "a pipe": [Thing(EVIL, stat.S_IFIFO)],
    "a device": [Thing(EVIL, stat.S_IFCHR)],
    "a name that is too long": [Thing(EVIL * 64, stat.S_IFREG)],
    "a path that is too long": [Thing("/".join(["directory"] * 210 + [EVIL]), stat.S_IFREG)],
    "a link to what is too long": [Thing(EVIL, stat.S_IFLNK, "x/" * 1200)],
    "a link to a control character": [Thing(EVIL, stat.S_IFLNK, "a\nb")],
    "through a link to a directory": [Thing("d", stat.S_IFDIR), Thing("l", stat.S_IFLNK, "d"), Thing(f"l/{EVIL}", stat.S_IFREG)],
}  # fmt: skip


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("name", REFUSED)
def test_every_format_is_judged_alike(pack: str, name: str, tmp_path: Path) -> None:
    refusal = judged(PACKS[pack](REFUSED[name]), tmp_path)
    assert refusal is not None
    assert "evil" in refusal.sentence or "directory/directory" in refusal.sentence


def test_a_socket_in_a_zip_is_refused(tmp_path: Path) -> None:
    refusal = judged(a_zip([Thing(EVIL, stat.S_IFSOCK)]), tmp_path)
    assert refusal is not None
    assert EVIL in refusal.sentence


@pytest.mark.parametrize("pack", ["tar", "tar.gz", "tar.zst"])
def test_a_name_that_is_no_utf_8_is_refused_and_shown_harmlessly(pack: str, tmp_path: Path) -> None:
    refusal = judged(PACKS[pack]([Thing("evil\udcff", stat.S_IFREG)]), tmp_path)
    assert refusal is not None
    assert "not UTF-8: `evil?`" in refusal.sentence


def test_a_link_may_lead_to_a_name_of_any_letters(tmp_path: Path) -> None:
    assert judged(a_tar([Thing("ß/é", stat.S_IFREG), Thing("l", stat.S_IFLNK, "ß/é")]), tmp_path) is None


# --- what would fill the memory ---


def a_header(size: int, kind: bytes, content: bytes = b"") -> bytes:
    """A raw tar header that claims a size, and what comes after it."""
    entry = tarfile.TarInfo("evil")
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.USTAR_FORMAT) + content


def a_map_of_holes(count: int) -> bytes:
    """A sparse file whose map is as long as somebody likes."""
    entry = tarfile.TarInfo("evil")
    lines = b"%d\n" % count + b"0\n" * 2 * count
    entry.size = len(lines)
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "evil"}
    return entry.tobuf(tarfile.PAX_FORMAT) + lines + bytes(-len(lines) % 512)


MANY = 40 * MEBIBYTE
FILLING: dict[str, Callable[[], bytes]] = {
    "an extended header": lambda: a_header(MANY, tarfile.XHDTYPE, bytes(MANY)),
    "a global header": lambda: a_header(MANY, tarfile.XGLTYPE, bytes(MANY)),
    "a long name": lambda: a_header(MANY, tarfile.GNUTYPE_LONGNAME, b"n" * MANY),
    "a long link": lambda: a_header(MANY, tarfile.GNUTYPE_LONGLINK, b"n" * MANY),
    "a map of holes": lambda: a_map_of_holes(MANY // 4),
    "header after header": lambda: a_header(512, tarfile.XHDTYPE, bytes(512)) * (MANY >> 10),
}


@pytest.mark.parametrize("name", FILLING)
def test_what_an_archive_says_of_an_entry_never_fills_the_memory(name: str, tmp_path: Path) -> None:
    before = a_tar([Thing("a", stat.S_IFREG)])[:1024]
    packed = zstandard.compress(before + FILLING[name]())
    assert len(packed) < MEBIBYTE, "it is a bomb"
    tracemalloc.start()
    refusal = judged(packed, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal is not None
    assert peak < 16 * MEBIBYTE


def test_a_zip_with_too_many_names_is_refused_before_they_are_all_read(tmp_path: Path) -> None:
    """Made by hand: a directory whose entries are all the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil", "")
    content = buffer.getvalue()
    begin, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry, tail = content[begin:end], bytearray(content[end:])
    directory = entry * 60_000
    tail[8:12] = (60_000).to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    tracemalloc.start()
    refusal = judged(content[:begin] + directory + bytes(tail), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal is not None
    assert "more than 50 entries" in refusal.sentence
    assert peak < 16 * MEBIBYTE
