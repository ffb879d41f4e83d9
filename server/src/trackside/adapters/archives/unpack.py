"""Unpacking an uploaded archive: tar (plain, gzip, zstd) and zip, streaming, entry by entry."""

import asyncio
import gzip
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import zstandard

from trackside.adapters.archives.limits import ArchiveLimits, Meter, check_text, safe_path, shown
from trackside.adapters.archives.streams import IndexedFile, TarStream
from trackside.adapters.archives.tree_writer import TreeWriter
from trackside.rooms.builds.errors import ArchiveRefused

_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_LARGEST_WINDOW = 128 << 20


async def unpack_apart(archive: Path, into: Path, limits: ArchiveLimits) -> None:
    """Unpack in a thread. A cancellation stops it, and is over only when nothing is written any more: `into` may go then."""
    stop = threading.Event()
    unpacking = asyncio.ensure_future(asyncio.to_thread(unpack_archive, archive, into, limits, stop.is_set))
    try:
        await asyncio.wait({unpacking})
    finally:
        stop.set()
        await asyncio.wait({unpacking})
        unpacking.exception()  # asked for, so that nobody logs `Stopped` as an accident
    unpacking.result()


def unpack_archive(archive: Path, into: Path, limits: ArchiveLimits, is_stopped: Callable[[], bool] = bool) -> None:
    """Unpack into the empty directory `into`. Raises `ArchiveRefused`, naming the entry; what was written stays for the caller.

    `is_stopped` is asked between pieces: true ends it with `Stopped`.
    """
    meter = Meter(limits, archive.stat().st_size, is_stopped)
    writer = TreeWriter(into, meter)
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            if start in _ZIP:
                _unpack_zip(file, writer, meter, limits)
            else:
                with _plain(file, start) as plain:
                    _unpack_tar(TarStream(plain, limits), writer, meter, limits)
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            zstandard.ZstdError,
            zlib.error,
            gzip.BadGzipFile,
            EOFError,
            ValueError,
        ) as error:
            raise ArchiveRefused(f"The archive can't be read: {shown(str(error))}.") from error
        except (NotImplementedError, RuntimeError) as error:
            raise ArchiveRefused(
                f"The archive is packed in a way that is not supported: {shown(str(error))}."
            ) from error
    writer.check_links()


@contextmanager
def _plain(file: IO[bytes], start: bytes) -> Generator[IO[bytes]]:
    """The tar inside of what it may be packed in."""
    if start == _ZSTD:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        with decompressor.stream_reader(file, read_across_frames=True) as reader:
            yield cast("IO[bytes]", reader)
    elif start[:2] == _GZIP:
        with gzip.GzipFile(fileobj=file) as reader:
            yield cast("IO[bytes]", reader)
    else:
        yield file


def _unpack_tar(stream: TarStream, writer: TreeWriter, meter: Meter, limits: ArchiveLimits) -> None:
    with tarfile.TarFile(fileobj=cast("IO[bytes]", stream)) as archive:
        for entry in _entries(archive, stream):
            meter.count_entry(entry.name)
            path = safe_path(entry.name, limits)
            if entry.isdir():
                writer.directory(path)
            elif entry.issym():
                writer.symbolic_link(path, _link_target(entry.name, entry.linkname, limits))
            elif entry.islnk():
                writer.hard_link(path, _hard_link_target(entry, limits))
            elif entry.isreg() and not entry.issparse() and entry.size >= 0:
                _check_announced(meter, path, entry.size, limits)
                content = archive.extractfile(entry)
                assert content is not None
                writer.file(path, content, entry.mode)
            else:
                raise ArchiveRefused(f"The archive has a device or another special file: `{shown(entry.name)}`.")


def _entries(archive: tarfile.TarFile, stream: TarStream) -> Iterator[tarfile.TarInfo]:
    """The entries, none of which is remembered; what is said of each is read within the stream's limit."""
    while (entry := archive.next()) is not None:
        stream.begin_content()
        yield entry
        stream.begin_index()
        cast("Any", archive).members = []
        archive.pax_headers = {}


def _link_target(name: str, target: str, limits: ArchiveLimits) -> str:
    try:
        check_text(target, limits)
    except ArchiveRefused as error:
        raise ArchiveRefused(f"The archive has a link that leads to what can't be a path: `{shown(name)}`.") from error
    return target


def _hard_link_target(entry: tarfile.TarInfo, limits: ArchiveLimits) -> PurePosixPath:
    try:
        return safe_path(entry.linkname, limits)
    except ArchiveRefused as error:
        raise ArchiveRefused(f"The archive has a link that leads out of it: `{shown(entry.name)}`.") from error


def _check_announced(meter: Meter, path: PurePosixPath, size: int, limits: ArchiveLimits) -> None:
    """An entry that announces more than the whole archive may hold is refused before it is read."""
    if size > limits.bytes:
        meter.count_bytes(str(path), size)


def _unpack_zip(file: IO[bytes], writer: TreeWriter, meter: Meter, limits: ArchiveLimits) -> None:
    with zipfile.ZipFile(cast("IO[bytes]", IndexedFile(file, limits))) as archive:
        for entry in archive.infolist():
            meter.count_entry(entry.filename)
            path = safe_path(entry.filename, limits)
            mode = entry.external_attr >> 16
            if entry.flag_bits & 1:
                raise ArchiveRefused(f"The archive has an encrypted entry: `{shown(entry.filename)}`.")
            _check_announced(meter, path, entry.file_size, limits)
            if entry.filename.endswith("/"):  # `is_dir` breaks on a name without a character
                writer.directory(path)
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                with archive.open(entry) as content:
                    writer.file(path, content, mode)
            elif stat.S_ISLNK(mode):
                with archive.open(entry) as content:
                    target = content.read(limits.path_bytes + 1).decode(errors="surrogateescape")
                writer.symbolic_link(path, _link_target(entry.filename, target, limits))
            else:
                raise ArchiveRefused(f"The archive has a device or another special file: `{shown(entry.filename)}`.")
