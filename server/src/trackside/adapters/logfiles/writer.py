"""Appending to a stream's files, by any number of processes, each batch under a short lock.

A batch is one write to a file opened for appending; what a killed process left half-written is cut off by the next
writer. A segment is left for a new one only by a writer that finds it full, so a writer that remembers an end which still
fits knows that nobody came between.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trackside.adapters.logfiles import records, segments
from trackside.adapters.logfiles.segments import Segment
from trackside.kit.garbage import Allowance, Thing, beyond
from trackside.rooms.telemetry.model import Line

REMEMBERED = 4096
TAIL = 1 << 20


@dataclass(frozen=True)
class LogOptions:
    """Sizes in bytes: of a segment, of what is kept of a stream and of all, of the longest message. `keep_days`: of the oldest line."""

    segment_bytes: int = 8 << 20
    stream_bytes: int = 256 << 20
    line_bytes: int = 64 << 10
    keep_days: int = 30
    all_bytes: int = 8 << 30


@dataclass(frozen=True)
class End:
    """Where a stream ends: the open segment, its size and inode, the number of the next line."""

    path: Path
    size: int
    inode: int
    next_seq: int


class Writer:
    """Appends to streams' directories. Its methods block; threads may share it."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._ends: dict[Path, End] = {}
        self._mutex = threading.Lock()

    def append(self, directory: Path, lines: Sequence[Line]) -> None:
        """Add the lines. Raises `OSError` where the disk refuses; then none of them is stored."""
        with locked(directory):
            end = self._open(directory)
            data = records.encode(lines, end.next_seq, self._options.line_bytes)
            write(end.path, data, end.size)
            self._remember(directory, End(end.path, end.size + len(data), end.inode, end.next_seq + len(lines)))

    def _open(self, directory: Path) -> End:
        """The end to write at, in a new segment where the present one is full: as remembered if nobody wrote since and
        nobody can have begun a new segment, else as found.
        """
        with self._mutex:
            end = self._ends.get(directory)
        if end is None or end.size >= self._options.segment_bytes or not is_as_remembered(end):
            end = found_end(directory)
        if end.size < self._options.segment_bytes:
            return end
        fresh = begin(directory, end.next_seq)
        drop_beyond(directory, self._options.stream_bytes)
        return fresh

    def _remember(self, directory: Path, end: End) -> None:
        with self._mutex:
            if len(self._ends) >= REMEMBERED:
                self._ends.clear()
            self._ends[directory] = end

    def drop(self, directory: Path) -> None:
        """Remove the stream's directory."""
        if directory.exists():
            with locked(directory):
                shutil.rmtree(directory)

    def over(self, directories: Sequence[Path], now: datetime) -> list[Thing]:
        """The files that sweeping the streams and `drop_oldest` would remove."""
        gone: list[Thing] = []
        left: list[Thing] = []
        for directory in directories:
            present = things(directory)
            closed, last, age = present[:-1], present[-1:], timedelta(days=self._options.keep_days)
            most = self._options.stream_bytes - sum(thing.size_bytes for thing in last)
            over = beyond(closed, Allowance(age, most), now) + beyond(last, Allowance(age), now)
            gone += over
            left += [thing for thing in present if thing not in over]
        return gone + beyond(left, Allowance(size_bytes=self._options.all_bytes), now)

    def drop_oldest(self, directories: Sequence[Path], now: datetime) -> int:
        """Drop the oldest files of all streams until the rest is within what all may have; the bytes dropped."""
        present = [thing for directory in directories for thing in things(directory)]
        gone = beyond(present, Allowance(size_bytes=self._options.all_bytes), now)
        return sum(drop_file(Path(thing.name)) for thing in gone)

    def sweep(self, directory: Path, now: datetime) -> int:
        """Drop what is too old, then what is too much; the bytes dropped."""
        with locked(directory):
            remove_broken_off(directory)
            freed = drop_before(directory, now - timedelta(days=self._options.keep_days))
            return freed + drop_beyond(directory, self._options.stream_bytes)

    def pack(self, directory: Path) -> None:
        """Pack what is closed. It takes room before it gives any, so nothing that is to be dropped may wait for it."""
        for segment in segments.listed(directory)[:-1]:
            if not segment.is_packed:
                pack(directory, segment)


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold the stream; the directory is there meanwhile."""
    descriptor = lock(directory)
    try:
        yield
    finally:
        os.close(descriptor)  # lets go of the lock too


def lock(directory: Path) -> int:
    """The descriptor that holds the lock. A lock whose file was removed while we waited holds nothing: taken anew."""
    while True:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(directory / segments.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def is_as_remembered(end: End) -> bool:
    try:
        status = end.path.stat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_ino) == (end.size, end.inode)


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def write(path: Path, data: bytes, size: int) -> None:
    """Add `data` to the file of this size, or nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    finally:
        os.close(descriptor)


def begin(directory: Path, first: int) -> End:
    path = segments.plain_path(directory, first)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return End(path, 0, path.stat().st_ino, first)


def found_end(directory: Path) -> End:
    """The stream's end as its files show it; a half-written last line is cut off."""
    present = segments.listed(directory)
    if not present:
        return begin(directory, 1)
    newest = present[-1]
    if newest.last is not None:
        return begin(directory, newest.last + 1)
    size = cut_torn(newest.path)
    next_seq = last_seq(newest.path, size, newest.first - 1) + 1
    return End(newest.path, size, newest.path.stat().st_ino, next_seq)


def cut_torn(path: Path) -> int:
    """Cut what follows the last newline; the size that stays."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - TAIL)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
        return end


def last_seq(path: Path, size: int, before: int) -> int:
    """The number of the file's last line, `before` for an empty one."""
    reach = TAIL
    while size:
        with path.open("rb") as file:
            file.seek(max(0, size - reach))
            text = file.read()
        record = next(records.backwards(text), None)
        if record:
            return record.seq
        if reach >= size:
            break
        reach *= 4
    return before


def things(directory: Path) -> list[Thing]:
    """The stream's files, the oldest first, the open one last; a file was needed last when its last line came."""
    found: list[Thing] = []
    for segment in segments.listed(directory):
        with suppress(FileNotFoundError):  # packed meanwhile
            status = segment.path.stat()
            written = status.st_mtime if segment.latest is None else segment.latest / 1e6
            found.append(Thing(str(segment.path), status.st_size, datetime.fromtimestamp(written, UTC)))
    return found


def drop_file(path: Path) -> int:
    """Remove one file of a stream; the open one makes room for an empty one, which keeps the count of the lines. The bytes."""
    with locked(path.parent):
        size = size_of(path)
        if not size:
            return 0
        if segments.listed(path.parent)[-1].path == path:
            begin(path.parent, found_end(path.parent).next_seq)
        path.unlink(missing_ok=True)
    return size


def drop_beyond(directory: Path, most: int) -> int:
    """Remove the oldest segments until the rest fits; never the open one. The bytes removed."""
    present = segments.listed(directory)
    sizes = [size_of(segment.path) or 0 for segment in present]
    excess, freed = sum(sizes) - most, 0
    for segment, size in zip(present[:-1], sizes, strict=False):
        if freed >= excess:
            break
        freed += remove(segment, size)
    return freed


def drop_before(directory: Path, oldest: datetime) -> int:
    """Remove segments whose last line is older; numbers go on where they were. The bytes removed."""
    freed = 0
    for segment in segments.listed(directory)[:-1]:
        if not segments.may_hold(segment, oldest, None):
            freed += remove(segment, size_of(segment.path) or 0)
    return freed + empty_open(directory, oldest)


def empty_open(directory: Path, oldest: datetime) -> int:
    """An open segment that is too old makes room for an empty one, which keeps the count of the lines."""
    present = segments.listed(directory)
    if not present or present[-1].is_packed or segments.may_hold(present[-1], oldest, None):
        return 0
    end = found_end(directory)
    if not end.size:
        return 0
    begin(directory, end.next_seq)
    return remove(present[-1], end.size)


def remove(segment: Segment, size: int) -> int:
    segment.path.unlink(missing_ok=True)
    return size


def remove_broken_off(directory: Path) -> None:
    for path in directory.glob(f"*{segments.PACKING}"):
        path.unlink(missing_ok=True)


def pack(directory: Path, segment: Segment) -> None:
    """Replace a closed segment by its packed twin, unless it was dropped meanwhile."""
    try:
        packing = segments.pack(segment)
    except FileNotFoundError:
        return
    if packing is None:
        return
    with locked(directory):
        if segment.path.exists():
            packing.rename(packing.with_name(packing.name.removesuffix(segments.PACKING)))
            segment.path.unlink()
        else:
            packing.unlink(missing_ok=True)
