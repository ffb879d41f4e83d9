"""The collector on the in-memory runtime and real files: each line once, whatever is killed, taken over or gone."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from contracts.workloads import App, a_workload, until
from trackside.adapters.logfiles.store import FileLogStore
from trackside.adapters.logfiles.turns import FileTurns
from trackside.adapters.memory.runtime import Behaviour, MemoryRuntime
from trackside.rooms.deployments.model import RestartPolicy, Role, Workload
from trackside.rooms.telemetry.converge import Collector
from trackside.rooms.telemetry.model import LogKind, Stream
from trackside.rooms.telemetry.plan import DROPPED, Rate

SUBNET = IPv4Network("10.232.0.0/24")


@pytest.fixture
async def runtime() -> AsyncIterator[MemoryRuntime]:
    memory = MemoryRuntime()
    yield memory
    await memory.close()


@pytest.fixture
def store(tmp_path: Path) -> FileLogStore:
    return FileLogStore(tmp_path / "logs")


@pytest.fixture
def make_collector(runtime: MemoryRuntime, store: FileLogStore, tmp_path: Path) -> Callable[[], Collector]:
    """Each as if in a process of its own."""
    return lambda: Collector(runtime, store, FileTurns(tmp_path / "turns"), Rate(100_000, 100_000))


@asynccontextmanager
async def running(collector: Collector) -> AsyncIterator[None]:
    task = asyncio.create_task(collector.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def stream_of(workload: Workload) -> Stream:
    return Stream(workload.workspace_id, LogKind.DEPLOY, workload.deployment_id)


async def stored(store: FileLogStore, workload: Workload) -> list[str]:
    lines = await store.read(stream_of(workload), limit=1_000_000)
    return [line.message for line in lines if line.replica_id == workload.replica_id]


async def until_stored(store: FileLogStore, workload: Workload, expected: list[str]) -> None:
    async def is_so() -> bool:
        return len(await stored(store, workload)) >= len(expected)

    await until(is_so, f"{len(expected)} stored lines")
    assert await stored(store, workload) == expected


async def launch(runtime: MemoryRuntime, behaviour: Behaviour, **changes: object) -> Workload:
    workload = a_workload(App("sha256:app"), SUBNET, **changes)
    runtime.behave("sha256:app", behaviour)
    await runtime.start(workload)
    return workload


async def test_lines_of_running_and_of_new_containers_are_stored_with_level_and_replica(
    runtime: MemoryRuntime, store: FileLogStore, make_collector: Callable[[], Collector]
) -> None:
    first = await launch(runtime, Behaviour(output=("a",), errors=("b",)))
    async with running(make_collector()):
        await until_stored(store, first, ["a", "b"])
        second = await launch(runtime, Behaviour(output=("c",)))
        await until_stored(store, second, ["c"])
        runtime.write(first.replica_id, '{"level":"warn","message":"d","user":"u"}')
        await until_stored(store, first, ["a", "b", "d"])
    lines = await store.read(stream_of(first))
    assert [(line.level, line.replica_id) for line in lines] == [
        (level, first.replica_id) for level in ("info", "error", "warn")
    ]
    assert lines[2].attributes == {"user": "u"}


async def test_a_pre_deploy_commands_lines_are_in_its_deployments_stream(
    runtime: MemoryRuntime, store: FileLogStore, make_collector: Callable[[], Collector]
) -> None:
    workload = await launch(runtime, Behaviour(output=("migrated",), exit_code=0), role=Role.PRE_DEPLOY)
    async with running(make_collector()):
        await until_stored(store, workload, ["migrated"])


async def test_a_container_that_crashes_again_and_again_is_stored_run_by_run(
    runtime: MemoryRuntime, store: FileLogStore, make_collector: Callable[[], Collector]
) -> None:
    behaviour = Behaviour(output=("up",), errors=("boom",), exit_code=1)
    async with running(make_collector()):
        workload = await launch(runtime, behaviour, restart=RestartPolicy.ON_FAILURE, max_restarts=3)
        await until_stored(store, workload, ["up", "boom"] * 4)


async def test_a_collector_started_anew_goes_on_where_the_last_one_was_killed(
    runtime: MemoryRuntime, store: FileLogStore, make_collector: Callable[[], Collector]
) -> None:
    workload, said, chance = await launch(runtime, Behaviour()), 0, random.Random(7)
    for _ in range(15):
        async with running(make_collector()):
            for _ in range(chance.randrange(1, 200)):
                runtime.write(workload.replica_id, str(said))
                said += 1
                if chance.random() < 0.1:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(chance.random() * 0.15)
    async with running(make_collector()):
        await until_stored(store, workload, [str(number) for number in range(said)])


async def test_the_rest_is_collected_with_and_without_a_follower_each_line_once(
    runtime: MemoryRuntime, store: FileLogStore, make_collector: Callable[[], Collector]
) -> None:
    workload = await launch(runtime, Behaviour(output=("0", "1")))
    ids = (workload.workspace_id, workload.deployment_id, workload.replica_id)
    await make_collector().collect_rest(*ids)
    assert await stored(store, workload) == ["0", "1"]
    async with running(make_collector()):
        for number in range(2, 60):
            runtime.write(workload.replica_id, str(number))
            if number % 7 == 0:
                await make_collector().collect_rest(*ids)
                assert await stored(store, workload) == [str(n) for n in range(number + 1)]
            await asyncio.sleep(0.005)
        await make_collector().collect_rest(*ids)
        await runtime.remove(workload.replica_id)
    assert await stored(store, workload) == [str(number) for number in range(60)]
    await make_collector().collect_rest(*ids)


async def test_two_collectors_do_not_store_twice(
    runtime: MemoryRuntime, store: FileLogStore, make_collector: Callable[[], Collector]
) -> None:
    workload = await launch(runtime, Behaviour())
    async with running(make_collector()), running(make_collector()):
        for number in range(300):
            runtime.write(workload.replica_id, str(number))
            await asyncio.sleep(0.001)
        await until_stored(store, workload, [str(number) for number in range(300)])


async def test_collecting_outlives_the_engines_absence(
    runtime: MemoryRuntime, store: FileLogStore, make_collector: Callable[[], Collector]
) -> None:
    workload = await launch(runtime, Behaviour(output=("before",)))
    async with running(make_collector()):
        await until_stored(store, workload, ["before"])
        runtime.go_down()
        runtime.write(workload.replica_id, "meanwhile")
        await asyncio.sleep(0.05)
        runtime.come_up()
        await until_stored(store, workload, ["before", "meanwhile"])


class Stumbling(MemoryRuntime):
    """A runtime whose first watch meets with what nobody foresaw."""

    watches = 0

    async def watch(self) -> AsyncIterator[tuple[UUID, UUID]]:
        self.watches += 1
        if self.watches == 1:
            raise ValueError("not foreseen")
        async for news in super().watch():
            yield news


async def test_watching_outlives_what_nobody_foresaw_and_tells_it(store: FileLogStore, tmp_path: Path) -> None:
    """Takes a second, after which it is watched again."""
    runtime = Stumbling()
    with capture_logs() as logged:
        async with running(Collector(runtime, store, FileTurns(tmp_path / "turns"))):
            await until(lambda: asyncio.sleep(0, runtime.watches == 2), "a second watch")
    assert [(one["work"], one["error"]) for one in logged] == [("watching", "ValueError('not foreseen')")]
    await runtime.close()


async def test_collecting_outlives_a_disk_that_refuses(
    runtime: MemoryRuntime, store: FileLogStore, make_collector: Callable[[], Collector], tmp_path: Path
) -> None:
    (tmp_path / "logs").write_text("in the way")
    workload = await launch(runtime, Behaviour(output=("a", "b")))
    async with running(make_collector()):
        await asyncio.sleep(0.3)
        (tmp_path / "logs").unlink()
        await until_stored(store, workload, ["a", "b"])


async def test_a_flood_is_limited_with_a_notice(runtime: MemoryRuntime, store: FileLogStore, tmp_path: Path) -> None:
    workload = await launch(runtime, Behaviour())
    async with running(Collector(runtime, store, FileTurns(tmp_path / "turns"), Rate(10, 20))):
        for number in range(1000):
            runtime.write(workload.replica_id, str(number))

        async def is_noticed() -> bool:
            return any("Dropped" in text for text in await stored(store, workload))

        await until(is_noticed, "a notice")
    lines = await store.read(stream_of(workload))
    assert [line.attributes for line in lines if line.attributes] == [{DROPPED: "980"}]
    assert [line.message for line in lines[:20]] == [str(number) for number in range(20)]
