"""Collecting from a real engine: each line once, through floods, rotation, restarts and the removal of the container."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from contracts.workloads import App, a_workload, until, until_logged, until_state
from trackside.adapters.docker.runtime import DockerRuntime
from trackside.adapters.logfiles.store import FileLogStore
from trackside.adapters.logfiles.turns import FileTurns
from trackside.rooms.deployments.model import Limits, RestartPolicy, SeenState, Workload
from trackside.rooms.telemetry.converge import Collector
from trackside.rooms.telemetry.model import LogKind, Stream
from trackside.rooms.telemetry.plan import DROPPED, Rate

UNLIMITED = Rate(10_000_000, 10_000_000)


@asynccontextmanager
async def running(collector: Collector) -> AsyncIterator[None]:
    task = asyncio.create_task(collector.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def store(tmp_path: Path) -> FileLogStore:
    return FileLogStore(tmp_path / "logs")


@pytest.fixture
def turns(tmp_path: Path) -> FileTurns:
    return FileTurns(tmp_path / "turns")


async def stored(store: FileLogStore, workload: Workload) -> list[str]:
    lines = await store.read(Stream(workload.workspace_id, LogKind.DEPLOY, workload.deployment_id), limit=10_000_000)
    return [line.message for line in lines]


async def test_what_a_short_lived_container_says_is_kept_after_it_is_gone(
    docker_runtime: DockerRuntime, image: str, subnet: IPv4Network, store: FileLogStore, turns: FileTurns
) -> None:
    workload = a_workload(App(image, ("sh", "-c", "echo one; echo two")), subnet)
    collector = Collector(docker_runtime, store, turns)
    async with running(collector):
        await docker_runtime.start(workload)
        await until_state(docker_runtime, workload, SeenState.EXITED)
        await Collector(docker_runtime, store, turns).collect_rest(
            workload.workspace_id, workload.deployment_id, workload.replica_id
        )
        await docker_runtime.remove(workload.replica_id)
    assert await stored(store, workload) == ["one", "two"]


async def test_every_run_of_a_crashing_container_is_kept(
    docker_runtime: DockerRuntime, image: str, subnet: IPv4Network, store: FileLogStore, turns: FileTurns
) -> None:
    crashing = App(image, ("sh", "-c", "echo up; echo boom; exit 1"))
    workload = a_workload(crashing, subnet, restart=RestartPolicy.ON_FAILURE, max_restarts=3)
    async with running(Collector(docker_runtime, store, turns)):
        await docker_runtime.start(workload)

        async def is_whole() -> bool:
            return len(await stored(store, workload)) >= 8

        await until(is_whole, "four runs")
    assert await stored(store, workload) == ["up", "boom"] * 4


async def test_collectors_killed_in_a_flood_store_each_line_once(
    docker_runtime: DockerRuntime, image: str, subnet: IPv4Network, store: FileLogStore, turns: FileTurns
) -> None:
    """The flood stays below the size at which the engine begins to forget."""
    command = "i=0; while [ $i -lt 60000 ]; do echo $i; i=$((i+1)); done; echo end"
    workload = a_workload(App(image, ("sh", "-c", command)), subnet)
    await docker_runtime.start(workload)
    expected = [*map(str, range(60000)), "end"]
    for _ in range(6):
        async with running(Collector(docker_runtime, store, turns, UNLIMITED)):
            before = len(await stored(store, workload))

            async def is_more(than: int = before) -> bool:
                return len(await stored(store, workload)) > min(than + 3000, 60000)

            await until(is_more, "progress")
    await until_state(docker_runtime, workload, SeenState.EXITED)
    await Collector(docker_runtime, store, turns, UNLIMITED).collect_rest(
        workload.workspace_id, workload.deployment_id, workload.replica_id
    )
    assert await stored(store, workload) == expected


async def test_a_flood_through_rotated_files_is_limited_and_what_follows_it_is_seen(
    docker_runtime: DockerRuntime, image: str, subnet: IPv4Network, store: FileLogStore, turns: FileTurns
) -> None:
    flood = App(
        image,
        ("sh", "-c", "yes 0123456789012345678901234567890123456789 | head -n 300000; sleep 3; echo end; sleep 99"),
    )
    workload = a_workload(flood, subnet, limits=Limits(cpu=1, memory_bytes=64 << 20, pids=64, log_bytes=5 << 20))
    async with running(Collector(docker_runtime, store, turns)):
        await docker_runtime.start(workload)

        async def is_over() -> bool:
            return "end" in await stored(store, workload)

        await until(is_over, "the flood's last line")
    lines = await store.read(Stream(workload.workspace_id, LogKind.DEPLOY, workload.deployment_id), limit=1_000_000)
    notices = [line for line in lines if DROPPED in line.attributes]
    assert notices
    assert len(lines) < 20_000
    assert sum(int(line.attributes[DROPPED]) for line in notices) + len(lines) - len(notices) <= 300_001


async def test_a_restarted_container_is_followed_on(
    docker_runtime: DockerRuntime, image: str, subnet: IPv4Network, store: FileLogStore, turns: FileTurns
) -> None:
    patient = App(image, ("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 60 & wait; done"))
    workload = a_workload(patient, subnet)
    async with running(Collector(docker_runtime, store, turns)):
        await docker_runtime.start(workload)
        await until_logged(docker_runtime, workload, "up")
        await docker_runtime.restart(workload.replica_id, 10)

        async def is_whole() -> bool:
            return len(await stored(store, workload)) >= 3

        await until(is_whole, "both runs")
    assert await stored(store, workload) == ["up", "bye", "up"]
