"""The files of a stream: an open segment, closed ones, packed ones. Names carry what a reader needs to skip a file.

`<first seq>.ndjson` is written by appending; once it has reached its size a new one is begun. Closed ones are packed into
`<first seq>-<last seq>-<earliest>-<latest>.ndjson.zst`, times in microseconds since 1970.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard

from trackside.adapters.logfiles import records

LOCK = "lock"
PLAIN = ".ndjson"
PACKED = ".ndjson.zst"
PACKING = ".packing"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Segment:
    """One file. `last`, `earliest` and `latest` are known of packed ones only."""

    path: Path
    first: int
    last: int | None = None
    earliest: int | None = None
    latest: int | None = None

    @property
    def is_packed(self) -> bool:
        return self.last is not None

    def load(self) -> bytes:
        """The whole text. Raises `FileNotFoundError` where it was packed or dropped since it was listed."""
        data = self.path.read_bytes()
        return zstandard.ZstdDecompressor().decompress(data) if self.is_packed else data


def parse(path: Path) -> Segment | None:
    """What a file's name says; None for what is no segment."""
    name = path.name
    if name.endswith(PACKED):
        numbers = name.removesuffix(PACKED).split("-")
        if len(numbers) == 4 and all(number.isdigit() for number in numbers):
            return Segment(path, *map(int, numbers))
    elif name.endswith(PLAIN) and name.removesuffix(PLAIN).isdigit():
        return Segment(path, int(name.removesuffix(PLAIN)))
    return None


def listed(directory: Path) -> list[Segment]:
    """The stream's segments, oldest first. Where packing was broken off, the plain one counts."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    by_first: dict[int, Segment] = {}
    for name in sorted(names):  # "-" sorts before ".": the plain one comes last and stays
        if segment := parse(directory / name):
            by_first[segment.first] = segment
    return [by_first[first] for first in sorted(by_first)]


def plain_path(directory: Path, first: int) -> Path:
    return directory / f"{first:020d}{PLAIN}"


def pack(segment: Segment) -> Path | None:
    """Write a closed segment's packed twin; the path, still under a name that no reader looks at. None if it is empty."""
    text = segment.load()
    times = [microseconds(record.at) for record in records.forwards(text, 0)]
    last = next((record.seq for record in records.backwards(text)), None)
    if last is None:
        return None
    name = f"{segment.first:020d}-{last:020d}-{min(times)}-{max(times)}{PACKED}"
    packing = segment.path.with_name(name + PACKING)
    try:
        packing.write_bytes(zstandard.ZstdCompressor(level=6).compress(text))
    except OSError:
        packing.unlink(missing_ok=True)  # a full disk needs every byte
        raise
    packing.chmod(0o600)
    status = segment.path.stat()
    os.utime(packing, ns=(status.st_atime_ns, status.st_mtime_ns))
    return packing


def microseconds(at: datetime) -> int:
    return max(0, (at - EPOCH) // timedelta(microseconds=1))


def within(segments: Iterable[Segment], after: int, since: datetime | None, until: datetime | None) -> list[Segment]:
    """The segments that may hold lines with seq > after within the times, oldest first."""
    chosen = list(segments)
    behind = sum(1 for following in chosen[1:] if following.first <= after + 1)
    return [segment for segment in chosen[behind:] if may_hold(segment, since, until)]


def may_hold(segment: Segment, since: datetime | None, until: datetime | None) -> bool:
    """Whether its times can meet the wanted ones. A plain file was last written after its last line was said."""
    if until and segment.earliest is not None and segment.earliest > microseconds(until):
        return False
    if since is None:
        return True
    if segment.latest is not None:
        return segment.latest >= microseconds(since)
    try:
        return segment.path.stat().st_mtime >= since.timestamp() - 1.0
    except FileNotFoundError:
        return True  # packed meanwhile: reading finds out
