"""What the libraries that read archives are given to read from: files that refuse to fill the memory.

They read into memory, whole, what an archive says of its entries before its content (long names, extended headers, maps of
holes, a zip's directory), and believe how long it claims to be.
"""

import io
from typing import IO

from trackside.adapters.archives.limits import LEAVE_OUT, ArchiveLimits
from trackside.rooms.builds.errors import ArchiveRefused

_CHUNK = 1 << 20
_ZIP_ENTRY = b"PK\x01\x02"


class TarStream:
    """A tar, forwards only. Between `begin_index` and `begin_content` no more is read than may be said of one entry."""

    def __init__(self, file: IO[bytes], limits: ArchiveLimits) -> None:
        self._file = file
        self._most = limits.entry_index_bytes
        self._left: int | None = self._most
        self._at = 0

    def begin_index(self) -> None:
        """From here on it is read what is said of the next entry."""
        self._left = self._most

    def begin_content(self) -> None:
        """From here on content is read, in pieces; others count it."""
        self._left = None

    def tell(self) -> int:
        return self._at

    def seek(self, to: int) -> None:
        """Pass over what is not wanted."""
        while self._at < to and self._take(min(to - self._at, _CHUNK)):
            pass

    def read(self, size: int) -> bytes:
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise ArchiveRefused(f"The archive says more than {self._most >> 10} KiB about one entry.")
        pieces: list[bytes] = []
        while size > 0 and (piece := self._take(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _take(self, size: int) -> bytes:
        piece = self._file.read(min(size, _CHUNK))
        self._at += len(piece)
        return piece


class IndexedFile(io.RawIOBase):
    """A zip. Only its directory is read in one large piece: it must be small enough, and name no more entries than it may."""

    def __init__(self, file: IO[bytes], limits: ArchiveLimits) -> None:
        self._file = file
        self._limits = limits
        self._size = file.seek(0, io.SEEK_END)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        size = left if size < 0 else min(size, left)
        if size > self._limits.index_bytes:
            most = self._limits.index_bytes >> 20
            raise ArchiveRefused(f"The archive's directory takes more than {most} MiB.", hint=LEAVE_OUT)
        found = self._file.read(size)
        if size > _CHUNK and found.count(_ZIP_ENTRY) > self._limits.entries:
            raise ArchiveRefused(f"The archive has more than {self._limits.entries} entries.", hint=LEAVE_OUT)
        return found
