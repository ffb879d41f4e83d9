"""Waking those who wait for a service instance: by notices from the database and by the engine's events."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

log = structlog.get_logger()
AT_EASE = 8
"""So many service instances are looked at as often as each wants; more share that pace, or looking would take the processor from
what is looked at. Nudges are not slowed down.
"""


@dataclass(frozen=True)
class Attention:
    """One's attention to a service instance, which nudges wake."""

    _event: asyncio.Event
    _crowd: Collection[object]

    async def wait(self, seconds: float) -> None:
        """Sleep, longer in a crowd, until nudged at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * max(1.0, len(self._crowd) / AT_EASE)):
                await self._event.wait()
        self._event.clear()

    def take(self) -> bool:
        """Whether a nudge has come that no sleep has heard: what it tells of may have come after the last look."""
        is_nudged = self._event.is_set()
        self._event.clear()
        return is_nudged


class Nudges:
    """Who attends to which service instance in this process; a nudge shortens a sleep, so a lost one costs time, never truth."""

    def __init__(self) -> None:
        self._events: dict[UUID, asyncio.Event] = {}

    @contextmanager
    def attend(self, instance_id: UUID) -> Generator[Attention]:
        """Take nudges for a service instance meanwhile."""
        event = self._events.setdefault(instance_id, asyncio.Event())
        try:
            yield Attention(event, self._events)
        finally:
            self._events.pop(instance_id, None)

    def nudge(self, instance_id: UUID) -> bool:
        """Wake whoever attends to it; whether anybody does."""
        event = self._events.get(instance_id)
        if event is not None:
            event.set()
        return event is not None


async def forever(name: str, source: Callable[[], AsyncIterator[None]], pause: float = 1.0) -> None:
    """Drain a source that may break (an engine, a database that goes away), and begin again."""
    while True:
        try:
            async for _ in source():
                pass
        except Exception as error:  # noqa: BLE001 — whatever breaks, the watch goes on; it is told and tried again
            log.warning("a watch broke off", watch=name, error=str(error))
        await asyncio.sleep(pause)
