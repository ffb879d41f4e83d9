"""Deciding about containers' lines: what they mean, which are too many, where collecting goes on; and whose logs go. Pure.

Where it goes on follows from what is stored and nothing else, so that a collector killed at any moment neither loses a line
nor stores one twice: lines are counted from a moment a little before the last stored one. The runtime tells times in
microseconds, and lines of the two streams may be some microseconds out of order; hence a count, not a time.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from trackside.rooms.telemetry.model import Line, Stream

MARGIN = timedelta(milliseconds=50)
MICROSECOND = timedelta(microseconds=1)
DROPPED = "trackside.dropped"

LEVELS = {
    **dict.fromkeys(("trace", "debug", "verbose", "silly"), "debug"),
    **dict.fromkeys(("info", "notice", "log", "http"), "info"),
    **dict.fromkeys(("warn", "warning"), "warn"),
    **dict.fromkeys(("error", "err", "fatal", "critical", "alert", "emerg", "emergency", "panic"), "error"),
}
SOURCES = {"stdout": "info", "stderr": "error"}
MESSAGE_KEYS = ("message", "msg")
LEVEL_KEYS = ("level", "severity")


def line_of(at: datetime, source: str, text: str, replica_id: UUID) -> Line:
    """What a container wrote, as a line: JSON objects with a message are taken apart, all else is as it stands."""
    level = SOURCES.get(source, "info")
    fields = json_fields(text)
    key = next((key for key in MESSAGE_KEYS if key in fields), None)
    if key is None:
        return Line(at, text, level, replica_id)
    message = plain_text(fields.pop(key))
    level_key = next((name for name in LEVEL_KEYS if name in fields), None)
    if level_key and (named := level_named(fields[level_key])):
        level = named
        del fields[level_key]
    attributes = {name: plain_text(value) for name, value in fields.items() if name != DROPPED}
    return Line(at, message, level, replica_id, attributes)


def json_fields(text: str) -> dict[str, Any]:
    """The fields of a JSON object; none where the text is not one."""
    if not (text.startswith("{") and text.rstrip().endswith("}")):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def plain_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def level_named(value: object) -> str | None:
    """Our level for what an app calls it; numbers as pino and bunyan count them. None for a name unknown to us."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return "debug" if value < 30 else "info" if value < 40 else "warn" if value < 50 else "error"
    return LEVELS.get(re.sub(r"\W", "", value).lower()) if isinstance(value, str) else None


@dataclass(frozen=True)
class Position:
    """Where collecting goes on: lines strictly after `since`, without the first ones, whose times `stored` tells.

    Where the first line to come is not the first that is stored, older ones were lost meanwhile (the engine keeps only so
    much): then all up to `last` are passed over instead.
    """

    since: datetime | None = None
    stored: tuple[datetime, ...] = ()
    last: datetime | None = None


def position(last: datetime | None, lines: Sequence[Line]) -> Position:
    """From the time of a replica's last stored line, and its stored lines from `MARGIN` before that on, ascending.

    A notice of dropped lines is a wall: every line that it counts has its time or an earlier one.
    """
    if last is None:
        return Position()
    walls = [line.at for line in lines if DROPPED in line.attributes]
    since = max([last - MARGIN, *walls])
    stored = tuple(line.at for line in lines if DROPPED not in line.attributes and line.at > since)
    return Position(since, stored, last)


class Skipping:
    """Passes over the lines that are stored already."""

    def __init__(self, position: Position) -> None:
        self._position = position
        self._left: int | None = None
        self._passes_by_time = False

    def is_new(self, at: datetime) -> bool:
        """Whether the next line, of this time, is not stored yet. To be asked of each line, in order."""
        stored, last = self._position.stored, self._position.last
        if self._left is None:
            self._left = len(stored) if stored and at == stored[0] else 0
            self._passes_by_time = bool(stored) and self._left == 0
        if self._left:
            self._left -= 1
            return False
        return not (self._passes_by_time and last is not None and at <= last)


@dataclass(frozen=True)
class Rate:
    """Lines a replica may store: per second, and at once after being quiet."""

    per_second: int = 500
    burst: int = 1000


class Bucket:
    """Holds a replica to its rate, by the lines' own times: catching up is not flooding.

    Once empty it drops a whole second's lines, then a notice says how many; so at most one notice a second.
    """

    def __init__(self, rate: Rate, replica_id: UUID) -> None:
        self._rate = rate
        self._replica_id = replica_id
        self._tokens = float(rate.burst)
        self._filled_at: datetime | None = None
        self._dropping_until: datetime | None = None
        self._dropped = 0
        self._last_dropped: datetime | None = None

    @property
    def is_dropping(self) -> bool:
        return self._dropping_until is not None

    def admit(self, at: datetime) -> bool:
        """Whether a line of this time may be stored. Ask `notice(at)` first: it ends a second of dropping."""
        if self._dropping_until is None:
            self._fill(at)
            if self._tokens >= 1:
                self._tokens -= 1
                return True
            self._dropping_until = at + timedelta(seconds=1)
        self._dropped += 1
        self._last_dropped = at
        return False

    def notice(self, now: datetime) -> Line | None:
        """The notice of what was dropped, where the second of dropping is over at `now`."""
        if self._dropping_until is None or now < self._dropping_until:
            return None
        return self._notice(self._dropping_until - MICROSECOND)

    def finish(self) -> Line | None:
        """The notice of what was dropped, at the end of the log."""
        return self._notice(self._last_dropped) if self._last_dropped and self._dropped else None

    def _notice(self, at: datetime) -> Line:
        count, self._dropped, self._dropping_until = self._dropped, 0, None
        text = f"Dropped {count} lines: limit {self._rate.per_second} lines/s per replica"
        return Line(at, text, "warn", self._replica_id, {DROPPED: str(count)})

    def _fill(self, at: datetime) -> None:
        if self._filled_at is None:
            self._filled_at = at
        elapsed = max(0.0, (at - self._filled_at).total_seconds())
        self._filled_at = max(at, self._filled_at)
        self._tokens = min(float(self._rate.burst), self._tokens + elapsed * self._rate.per_second)


class Reading:
    """One reading of a replica's log, from a position on: what of it is to be stored."""

    def __init__(self, start: Position, rate: Rate, replica_id: UUID) -> None:
        self._skipping = Skipping(start)
        self._bucket = Bucket(rate, replica_id)
        self._replica_id = replica_id

    @property
    def is_dropping(self) -> bool:
        return self._bucket.is_dropping

    def take(self, lines: Sequence[tuple[datetime, str, str]]) -> list[Line]:
        """The lines to store of those that were read, in order."""
        chosen: list[Line] = []
        for at, source, text in lines:
            if not self._skipping.is_new(at):
                continue
            if notice := self._bucket.notice(at):
                chosen.append(notice)
            if self._bucket.admit(at):
                chosen.append(line_of(at, source, text, self._replica_id))
        return chosen

    def idle(self, now: datetime) -> list[Line]:
        """The notice that is due though no line comes."""
        notice = self._bucket.notice(now)
        return [notice] if notice else []

    def finish(self) -> list[Line]:
        """What is to be stored at the log's end."""
        notice = self._bucket.finish()
        return [notice] if notice else []


def unowned(streams: Sequence[Stream], owners: Collection[UUID]) -> list[Stream]:
    """The streams of deployments and service instances that are no longer on record."""
    return [stream for stream in streams if stream.owner not in owners]
