"""Port `Prober`: one small task per replica, a bounded number of probes at once."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import random
from uuid import UUID

from trackside.adapters.prober.ask import Answer, ask
from trackside.kit.clock import Clock
from trackside.rooms.networking.model import Backend, Health, Probe, Protocol, Server

VERIFYING_SECONDS = 0.25
DOUBTFUL_SECONDS = 1.0
"""Between probes of a replica whose last one failed."""
FAILURES = 3
"""In a row, that make a replica unhealthy."""
AT_ONCE = 256


@dataclass(frozen=True)
class Watched:
    """A replica and how it is asked; one that moves to another address is another."""

    server: Server
    probe: Probe
    protocol: Protocol


@dataclass
class Record:
    """What was seen of a replica."""

    was_well: bool  # served, or passed a probe, at some time
    health: Health | None = None
    failures: int = 0
    well_at: datetime | None = None

    def take(self, answer: Answer, clock: Clock) -> bool:
        """Note an answer; whether the health has changed."""
        self.failures = 0 if answer.is_good else self.failures + 1
        before = self.health
        well_until_now = before.is_healthy if before else self.was_well
        self.was_well |= answer.is_good
        self.well_at = clock.now() if answer.is_good else self.well_at
        if well_until_now and not answer.is_good and self.failures < FAILURES:
            return False
        if before and (before.is_healthy, before.detail) == (answer.is_good, answer.detail):
            return False
        since = before.since if before and before.is_healthy == answer.is_good else clock.now()
        self.health = Health(answer.is_good, answer.detail, since, None if answer.is_good else self.well_at)
        return True

    def pause(self, probe: Probe) -> float:
        """Seconds until the next probe: often while verifying, soon after a failure, else at the probe's interval."""
        if not self.was_well:
            return VERIFYING_SECONDS
        return min(probe.interval, DOUBTFUL_SECONDS) if self.failures else probe.interval


class ReplicaProber:
    """Probes replicas from the edge, where requests come from."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[UUID, Record] = {}
        self._tasks: dict[UUID, tuple[Watched, asyncio.Task[None]]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._changed = asyncio.Event()

    def watch(self, backends: Sequence[Backend], trusted: frozenset[UUID]) -> None:
        wanted = {
            server.replica_id: Watched(server, backend.probe, backend.protocol)
            for backend in backends
            if backend.probe
            for server in backend.servers
            if not server.is_leaving
        }
        for replica_id in [key for key, (watched, _) in self._tasks.items() if wanted.get(key) != watched]:
            self._forget(replica_id)
        for replica_id, watched in wanted.items():
            if replica_id not in self._tasks:
                self._records[replica_id] = Record(replica_id in trusted)
                task = asyncio.create_task(self._follow(watched), name=f"probe {replica_id}")
                self._tasks[replica_id] = (watched, task)

    def _forget(self, replica_id: UUID) -> None:
        _, task = self._tasks.pop(replica_id)
        task.cancel()
        del self._records[replica_id]

    def health(self) -> Mapping[UUID, Health]:
        return {key: record.health for key, record in self._records.items() if record.health}

    async def wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def stop(self) -> None:
        """Probe nothing any more."""
        tasks = [task for _, task in self._tasks.values()]
        for replica_id in list(self._tasks):
            self._forget(replica_id)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, watched: Watched) -> None:
        record = self._records[watched.server.replica_id]
        while True:
            async with self._slots:
                answer = await ask(watched.server, watched.probe, watched.protocol)
            if record.take(answer, self._clock):
                self._changed.set()
            # Spread over the interval, so that a thousand replicas are not asked in the same moment.
            await asyncio.sleep(record.pause(watched.probe) * (0.9 + 0.2 * random()))
