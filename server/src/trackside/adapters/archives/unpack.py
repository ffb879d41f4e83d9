"""Unpacking an uploaded archive: tar (plain, gzip, zstd) and zip, streaming, entry by entry."""

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import zstandard

from trackside.adapters.archives.limits import ArchiveLimits, Meter, safe_path, shown
from trackside.adapters.archives.tree_writer import TreeWriter
from trackside.rooms.builds.errors import ArchiveRefused

_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_LARGEST_WINDOW = 128 << 20


def unpack_archive(archive: Path, into: Path, limits: ArchiveLimits) -> None:
    """Unpack into the empty directory `into`. Raises `ArchiveRefused`, naming the entry; what was written stays for the caller."""
    meter = Meter(limits, archive.stat().st_size)
    writer = TreeWriter(into, meter)
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            if start in _ZIP:
                _unpack_zip(file, writer, meter, limits)
            else:
                with _tar_stream(file, start) as stream:
                    _unpack_tar(stream, writer, meter, limits)
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            zstandard.ZstdError,
            zlib.error,
            gzip.BadGzipFile,
            EOFError,
            UnicodeError,
        ) as error:
            raise ArchiveRefused(f"The archive can't be read: {error}.") from error
        except (NotImplementedError, RuntimeError) as error:
            raise ArchiveRefused(f"The archive is packed in a way that is not supported: {error}.") from error
    writer.check_links()


@contextmanager
def _tar_stream(file: IO[bytes], start: bytes) -> Generator[tarfile.TarFile]:
    if start == _ZSTD:
        reader = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(
            file, read_across_frames=True
        )
        with reader, tarfile.open(fileobj=cast("IO[bytes]", reader), mode="r|") as stream:
            yield stream
    else:
        plain = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if start[:2] == _GZIP else file
        with tarfile.open(fileobj=plain, mode="r|") as stream:
            yield stream


def _unpack_tar(stream: tarfile.TarFile, writer: TreeWriter, meter: Meter, limits: ArchiveLimits) -> None:
    for entry in stream:
        meter.count_entry(entry.name)
        path = safe_path(entry.name, limits)
        if entry.isdir():
            writer.directory(path)
        elif entry.issym():
            writer.symbolic_link(path, entry.linkname)
        elif entry.islnk():
            writer.hard_link(path, _hard_link_target(entry, limits))
        elif entry.isreg():
            _check_announced(meter, path, entry.size, limits)
            content = stream.extractfile(entry)
            assert content is not None
            writer.file(path, content, entry.mode)
        else:
            raise ArchiveRefused(f"The archive has a device or another special file: `{shown(entry.name)}`.")
        cast("Any", stream).members = []  # a stream remembers every entry otherwise


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
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            meter.count_entry(entry.filename)
            path = safe_path(entry.filename, limits)
            mode = entry.external_attr >> 16
            if entry.flag_bits & 1:
                raise ArchiveRefused(f"The archive has an encrypted entry: `{shown(entry.filename)}`.")
            _check_announced(meter, path, entry.file_size, limits)
            if entry.is_dir():
                writer.directory(path)
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                with archive.open(entry) as content:
                    writer.file(path, content, mode)
            elif stat.S_ISLNK(mode):
                with archive.open(entry) as content:
                    writer.symbolic_link(path, content.read(limits.path_bytes).decode())
            else:
                raise ArchiveRefused(f"The archive has a device or another special file: `{shown(entry.filename)}`.")
