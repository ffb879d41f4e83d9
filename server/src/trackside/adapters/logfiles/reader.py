"""Reading a stream's files. Only the listing is locked (a directory read while a file is replaced by another may show
neither); what was listed may be packed or dropped before it is opened: then it is listed again.
"""

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from trackside.adapters.logfiles import records, segments
from trackside.adapters.logfiles.records import Record
from trackside.adapters.logfiles.segments import Segment
from trackside.rooms.telemetry.model import Line

TRIES = 10
BLOCK = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """Lines with seq > after, `since <= at <= until`: the first `limit`, or the last with `newest`."""

    after: int = 0
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 1000
    newest: bool = False

    def takes(self, record: Record) -> bool:
        return (
            record.seq > self.after
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at <= self.until)
        )


def read(directory: Path, query: Query) -> list[Line]:
    """The lines asked for, ascending."""
    return unless_moved(lambda: read_newest(directory, query) if query.newest else read_first(directory, query))


def unless_moved(act: Callable[[], T]) -> T:
    """Do it again where a file was packed or dropped under its hands."""
    for _ in range(TRIES - 1):
        try:
            return act()
        except FileNotFoundError:
            continue
    return act()


def listed(directory: Path) -> list[Segment]:
    """The stream's segments, oldest first."""
    try:
        descriptor = os.open(directory / segments.LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return segments.listed(directory)
    finally:
        os.close(descriptor)


def read_first(directory: Path, query: Query) -> list[Line]:
    lines: list[Line] = []
    for segment in segments.within(listed(directory), query.after, query.since, query.until):
        text = segment.load()
        for record in records.forwards(text, records.start_after(whole(text), query.after)):
            if len(lines) >= query.limit:
                return lines
            if query.takes(record):
                lines.append(record.line())
    return lines


def read_newest(directory: Path, query: Query) -> list[Line]:
    chosen = segments.within(listed(directory), query.after, query.since, query.until)
    texts = (segment.load() for segment in reversed(chosen))
    found = (record.line() for text in texts for record in records.backwards(text) if query.takes(record))
    return list(islice(found, query.limit))[::-1]


def whole(text: bytes) -> bytes:
    """Without an unfinished last line."""
    return text if text.endswith(b"\n") else text[: text.rfind(b"\n") + 1]


def last_of(directory: Path, replica_id: UUID) -> datetime | None:
    """The time of the last line of a replica."""

    def find() -> datetime | None:
        for segment in reversed(listed(directory)):
            if record := records.last_of(segment.load(), replica_id):
                return record.at
        return None

    return unless_moved(find)


class Tail:
    """Reads a stream on from a line, remembering where in which file it was."""

    def __init__(self, directory: Path, after: int) -> None:
        self._directory = directory
        self._seq = after
        self._path: Path | None = None
        self._offset = 0

    def more(self) -> list[Line]:
        """The next lines that are there, a segment of them at most; none when all has been read."""
        return self._read_last() or unless_moved(self._move)

    def _read_last(self) -> list[Line]:
        """What was added to the file that was read last; nothing where it was packed or dropped since."""
        try:
            return self._read_on(self._path) if self._path else []
        except FileNotFoundError:
            self._path = None
            return []

    def _read_on(self, path: Path) -> list[Line]:
        """What was added to the file since. Raises `FileNotFoundError` where it was packed or dropped."""
        with path.open("rb") as file:
            text = read_lines(file.fileno(), self._offset)
        self._offset += len(text)
        return self._take(text, 0)

    def _take(self, text: bytes, start: int) -> list[Line]:
        lines = [record.line() for record in records.forwards(text, start) if record.seq > self._seq]
        if lines:
            self._seq = lines[-1].seq
        return lines

    def _move(self) -> list[Line]:
        """The next lines, from the file after the present one too. A file that has a successor grows no more, so the
        present one is read once again after the successor has been seen. Raises `FileNotFoundError` where a listed one
        was packed or dropped before it was read: going on with the next would leave out its lines.
        """
        for segment in segments.within(listed(self._directory), self._seq, None, None):
            if segment.is_packed:
                text = segment.load()
                lines = self._take(text, records.start_after(text, self._seq))
            else:
                if segment.path != self._path:
                    self._path, self._offset = segment.path, position(segment.path, self._seq)
                lines = self._read_on(segment.path)
            if lines:
                return lines
        return []


def read_lines(descriptor: int, offset: int) -> bytes:
    """Whole lines from an offset on: a block of them, or one where it is longer than that."""
    size = BLOCK
    while True:
        text = os.pread(descriptor, size, offset)
        end = text.rfind(b"\n") + 1
        if end or len(text) < size:
            return text[:end]
        size *= 4


def position(path: Path, seq: int) -> int:
    """Where in a plain file the first line after a number begins."""
    return records.start_after(whole(path.read_bytes()), seq)
