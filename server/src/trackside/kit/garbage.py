"""What is no longer needed and takes space: the words in which every collection of garbage decides and reports. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Freed:
    """What went, or in a dry run would go: of which kind, how many, and their size in bytes (0 where nobody tells).

    Layers that images share count with each of them, so the size is what was freed at most.
    """

    kind: str
    count: int
    size_bytes: int = 0


@dataclass(frozen=True)
class Thing:
    """Something that may be thrown away: its size in bytes, and when it was last needed."""

    name: str
    size_bytes: int
    used_at: datetime


@dataclass(frozen=True)
class Allowance:
    """How long things are kept after their last use, and how many bytes of them; None: without end."""

    age: timedelta | None = None
    size_bytes: int | None = None


def beyond(things: Iterable[Thing], allowance: Allowance, now: datetime) -> list[Thing]:
    """What must go: the too old, and then the longest unneeded ones, until the rest fits. The oldest first."""
    oldest_first = sorted(things, key=lambda thing: (thing.used_at, thing.name))
    excess = 0 if allowance.size_bytes is None else sum(t.size_bytes for t in oldest_first) - allowance.size_bytes
    gone: list[Thing] = []
    for thing in oldest_first:
        is_old = allowance.age is not None and thing.used_at < now - allowance.age
        if not is_old and excess <= 0:
            break
        gone.append(thing)
        excess -= thing.size_bytes
    return gone


def summed(kind: str, things: Iterable[Thing]) -> list[Freed]:
    """The things as one line of a report; none where there are none."""
    gone = list(things)
    return [Freed(kind, len(gone), sum(thing.size_bytes for thing in gone))] if gone else []


def in_total(freed: Iterable[Freed]) -> int:
    """Bytes, all kinds together."""
    return sum(one.size_bytes for one in freed)
