"""The time, as a port: services take a clock so that tests can hold it still."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

REMEMBERED = 10_000
REMEMBERED_JUMPS = 16
JUMP = timedelta(seconds=1)
"""By so much a clock moves only where somebody puts it; what is less is nobody's loss."""


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment, in UTC with zone."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FrozenClock:
    """A clock that moves only when told to; for tests and for the in-memory platform."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def set(self, at: datetime) -> None:
        self._at = at


def in_utc(moment: datetime | None) -> datetime | None:
    """A moment somebody wrote: one without a zone is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


class Stopwatch:
    """How long ago moments on record were, as this process has lived it: a clock that jumps makes nothing late, and nothing wait.

    A moment is placed where it is first met, on that of the clock's scales (one more with each jump) on which it is youngest and
    not in the future; from then on by the time that really passed.
    """

    def __init__(self, clock: Clock, lived: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lived = lived
        self._scales: list[datetime] = []
        self._met: dict[datetime, float] = {}

    def read(self) -> "Reading":
        """The present moment."""
        now, lived = self._clock.now(), self._lived()
        scale = now - timedelta(seconds=lived)
        if not any(abs(scale - known) < JUMP for known in self._scales):
            self._scales = [*self._scales[-REMEMBERED_JUMPS:], scale]
        if len(self._met) > REMEMBERED:
            self._met.clear()
        return Reading(now, lived, tuple(self._scales), self._met)


@dataclass(frozen=True)
class Reading:
    """One look at the stopwatch: the clock's time, the seconds lived, what the clock showed at second 0 on each of its
    scales, and at which second each moment was.
    """

    now: datetime
    lived: float
    scales: tuple[datetime, ...]
    met: dict[datetime, float]

    def placed(self, moment: datetime) -> datetime:
        """The moment on the clock as it goes now: as far before `now` as it really was."""
        if moment not in self.met:
            seconds = ((moment - scale).total_seconds() for scale in self.scales)
            self.met[moment] = max((second for second in seconds if second <= self.lived), default=self.lived)
        return self.now - timedelta(seconds=self.lived - self.met[moment])

    def placed_or_none(self, moment: datetime | None) -> datetime | None:
        return None if moment is None else self.placed(moment)
