"""Collecting containers' logs: what every container of the installation says ends up in its deployment's stream, once.

`Collector.run` follows all of them in one process; `Collector.collect_rest` stores, from any process, what a container has
said and nobody has stored, before it is removed. Both take turns: a follower whose turn was taken finds out before it
stores anything more, and starts over from what is stored.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from trackside.kit.errors import TracksideError
from trackside.rooms.deployments.errors import RuntimeUnavailable
from trackside.rooms.deployments.model import SeenReplica, SeenState
from trackside.rooms.deployments.ports import Runtime
from trackside.rooms.telemetry import plan
from trackside.rooms.telemetry.model import Line, LogKind, Stream
from trackside.rooms.telemetry.plan import Rate, Reading
from trackside.rooms.telemetry.ports import LogStore, Turns

log = structlog.get_logger()

LogLine = tuple[datetime, str, str]

GATHER = 0.05
"""Lines that come within this time are stored together."""
BATCH = 2000
SLACK = timedelta(seconds=1)
"""A line may be read so long after it was written: only then its second is over without it."""
IDLE = 0.25
SURVEY = 30.0
HOUSEKEEPING = 600.0
PAUSE = 0.2
RETRY = 1.0


class Inbox:
    """Lines read and not yet stored: a few thousand at most, then the reading waits."""

    def __init__(self) -> None:
        self._lines: list[LogLine] = []
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self.is_over = False

    async def fill(self, lines: AsyncIterator[LogLine]) -> None:
        try:
            async for line in lines:
                self._lines.append(line)
                self._some.set()
                if len(self._lines) >= BATCH:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self.is_over = True
            self._some.set()

    async def wait(self, seconds: float | None) -> None:
        """Until a line is there or the reading is over, or for some seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._some.wait()
                if len(self._lines) < BATCH and not self.is_over:
                    await asyncio.sleep(GATHER)

    def empty(self) -> list[LogLine]:
        lines, self._lines = self._lines, []
        if not self.is_over:
            self._some.clear()
        self._room.set()
        return lines


@asynccontextmanager
async def closed_after(lines: AsyncIterator[LogLine]) -> AsyncGenerator[AsyncIterator[LogLine]]:
    """Close a runtime's log with its connection at once, not when it is forgotten."""
    try:
        yield lines
    finally:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


@contextmanager
def going_on(work: str) -> Generator[None]:
    """Have a helper outlive whatever its work fails with: the survey does not see that it is gone. Told, unless expected."""
    try:
        yield
    except TracksideError:
        pass
    except Exception as error:  # noqa: BLE001 — nobody waits for a helper; one that ended would be missed by nobody
        log.error("monitor.helper_failed", work=work, error=repr(error))


class Collector:
    """Collects logs of what runs on `runtime` into `store`."""

    def __init__(self, runtime: Runtime, store: LogStore, turns: Turns, rate: Rate | None = None) -> None:
        self._runtime = runtime
        self._store = store
        self._turns = turns
        self._rate = rate or Rate()
        self._followers: dict[UUID, asyncio.Task[None]] = {}
        self._finished: dict[UUID, datetime | None] = {}
        self._news: set[UUID] = set()
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Follow every container, until cancelled. Of several processes that run this one collects, the others wait."""
        async with self._turns.alone():
            helpers = [asyncio.create_task(self._watch()), asyncio.create_task(self._keep_house())]
            try:
                while True:
                    await self._survey()
            finally:
                for task in (*helpers, *self._followers.values()):
                    task.cancel()
                await asyncio.gather(*helpers, *self._followers.values(), return_exceptions=True)

    async def collect_rest(self, workspace_id: UUID, deployment_id: UUID, replica_id: UUID) -> None:
        """Store what the container has said up to now and the store has not. Raises `RuntimeUnavailable` or
        `LogsUnavailable` where that can't be done now.
        """
        stream = Stream(workspace_id, LogKind.DEPLOY, deployment_id)
        async with self._turns.take(replica_id):
            start = await self._position(stream, replica_id)
            reading = Reading(start, self._rate, replica_id)
            batch: list[LogLine] = []
            async with closed_after(self._runtime.logs(replica_id, start.since, follow=False)) as lines:
                async for line in lines:
                    batch.append(line)
                    if len(batch) >= BATCH:
                        await self._store.append(stream, reading.take(batch))
                        batch.clear()
            await self._store.append(stream, reading.take(batch) + reading.finish())

    # --- seeing what runs ---

    async def _watch(self) -> None:
        """Tell the survey of each container that starts or ends."""
        while True:
            with going_on("watching"):
                async for _, service_instance_id in self._runtime.watch():
                    self._news.add(service_instance_id)
                    self._woken.set()
            self._woken.set()
            await asyncio.sleep(RETRY)

    async def _survey(self) -> None:
        """Look at all that runs, then at what there is news of, until it is time to look at all again."""
        deadline = asyncio.get_running_loop().time() + SURVEY
        try:
            everything = await self._runtime.observe_all()
            self._forget_gone({replica.replica_id for replica in everything})
            self._tend(everything)
            while await self._is_woken(deadline):
                news = tuple(self._news)
                self._news.clear()
                for service_instance_id in news:
                    self._tend(await self._runtime.observe(service_instance_id))
        except RuntimeUnavailable:
            await asyncio.sleep(RETRY)

    async def _is_woken(self, deadline: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._woken.wait()
                self._woken.clear()
                return True
        return False

    def _tend(self, replicas: Sequence[SeenReplica]) -> None:
        for replica in replicas:
            follower = self._followers.get(replica.replica_id)
            if replica.state is not SeenState.CREATED and (follower is None or follower.done()):
                is_running = replica.state is SeenState.RUNNING
                if is_running or self._finished.get(replica.replica_id) != replica.started_at:
                    self._followers[replica.replica_id] = asyncio.create_task(self._follow(replica))

    def _forget_gone(self, present: set[UUID]) -> None:
        for replica_id in [gone for gone, task in self._followers.items() if gone not in present and task.done()]:
            del self._followers[replica_id]
            self._finished.pop(replica_id, None)

    # --- following one ---

    async def _follow(self, replica: SeenReplica) -> None:
        """Store what a container says until it ends; the survey finds out whether it has been started again."""
        stream = Stream(replica.workspace_id, LogKind.DEPLOY, replica.deployment_id)
        try:
            while not await self._follow_turn(stream, replica.replica_id):
                pass
            # A followed log may end before its last lines came: some engines lose their way when files are rotated.
            await self.collect_rest(replica.workspace_id, replica.deployment_id, replica.replica_id)
            self._finished[replica.replica_id] = replica.started_at
            await asyncio.sleep(PAUSE)
        except TracksideError:
            await asyncio.sleep(RETRY)
        self._news.add(replica.service_instance_id)
        self._woken.set()

    async def _follow_turn(self, stream: Stream, replica_id: UUID) -> bool:
        """Follow until the end (True) or until another has taken over (False)."""
        async with self._turns.take(replica_id) as mark:
            start = await self._position(stream, replica_id)
        reading, inbox = Reading(start, self._rate, replica_id), Inbox()
        async with closed_after(self._runtime.logs(replica_id, start.since, follow=True)) as lines:
            filling = asyncio.create_task(inbox.fill(lines))
            try:
                while not inbox.is_over:
                    await inbox.wait(IDLE if reading.is_dropping else None)
                    chosen = reading.take(inbox.empty()) or reading.idle(datetime.now(UTC) - SLACK)
                    if not await self._keep(stream, chosen, replica_id, mark):
                        return False
                await filling
                last = reading.take(inbox.empty()) + reading.finish()
                return await self._keep(stream, last, replica_id, mark)
            finally:
                filling.cancel()
                await asyncio.gather(filling, return_exceptions=True)

    async def _keep(self, stream: Stream, lines: list[Line], replica_id: UUID, mark: str) -> bool:
        """Store the lines if it is still our turn."""
        if not lines:
            return True
        async with self._turns.again(replica_id, mark) as stands:
            if stands:
                await self._store.append(stream, lines)
            return stands

    async def _position(self, stream: Stream, replica_id: UUID) -> plan.Position:
        last = await self._store.last_at(stream, replica_id)
        if last is None:
            return plan.Position()
        near = await self._store.read(stream, since=last - plan.MARGIN, until=last + plan.MARGIN, limit=1_000_000)
        return plan.position(last, [line for line in near if line.replica_id == replica_id])

    async def _keep_house(self) -> None:
        while True:
            with going_on("housekeeping"):
                await self._turns.keep_only({replica.replica_id for replica in await self._runtime.observe_all()})
            await asyncio.sleep(HOUSEKEEPING)
