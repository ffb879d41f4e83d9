"""Random operations and kills on ten services under load; in the end database, engine, edge and event log say the same.

Two minutes in `make test`, thirty in `make soak` (`TRACKSIDE_SOAK_SECONDS`). The seed is printed; the same seed does the same things,
though not at the same moments.
"""

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from e2e.conftest import until
from edge.load import Load, Outcome, Target
from survival.operations import (
    Cancel,
    Delete,
    Deploy,
    Down,
    Failing,
    Operation,
    Restart,
    Rollback,
    Scale,
    ScaleDown,
)
from survival.truth import assert_true
from survival.world import Service, World

SECONDS = float(os.environ.get("TRACKSIDE_SOAK_SECONDS", "120"))
SEED = int(os.environ.get("TRACKSIDE_SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
OPERATIONS: dict[type[Operation], int] = {
    Restart: 4,
    Rollback: 4,
    Scale: 4,
    ScaleDown: 4,
    Deploy: 1,
    Cancel: 1,
    Failing: 1,
    Down: 1,
    Delete: 1,
}
"""How often each, beside the others."""
VICTIMS = (
    "gateway",
    "deployer",
    "builder",
    "monitor",
    "edge",
    "engine",
    "containerd",
    "build-engine",
    "postgres",
    "supervisor",
    "haproxy",
    "watcher",
    "watchdog",
)
KILL_EVERY = 8.0
Cut = tuple[float, float]
"""From before HAProxy was killed until it is back; seconds of the monotonic clock. Alone it takes less than one, as the tests of
kills show; here its supervisor may have been killed a moment before.
"""


async def operate(world: World, service: Service, chance: random.Random, deadline: float, done: Counter[str]) -> None:
    """One operation after the other on a service, each to its end."""
    while time.monotonic() < deadline:
        kind = chance.choices([*OPERATIONS], [*OPERATIONS.values()])[0]
        operation = kind(world, service)
        for act in (operation.prepare, operation.begin, operation.end):
            await asyncio.to_thread(act)
        done[kind.__name__] += 1


async def kill(world: World, chance: random.Random, deadline: float, done: Counter[str]) -> list[Cut]:
    """One process now and then, without asking whether the last one is back; what that cut of the edge's connections."""
    cuts: list[Cut] = []
    while time.monotonic() < deadline:
        await asyncio.sleep(chance.uniform(0, KILL_EVERY * 2))
        victim = chance.choice(VICTIMS)
        began = time.monotonic()
        killed = await asyncio.to_thread(world.kill, victim)
        if victim == "haproxy":
            await asyncio.to_thread(until, lambda killed=killed: world.is_edge_back(killed), 30, "HAProxy is back")
            cuts.append((began, time.monotonic()))
        done[f"killed {victim}"] += 1
    return cuts


def is_physical(failure: Outcome, cuts: list[Cut]) -> bool:
    """Whether HAProxy was killed while the request was open, or was not back yet."""
    return any(failure.ended >= began and failure.started <= ended for began, ended in cuts)


@pytest.mark.timeout(SECONDS + 600)
async def test_random_operations_and_kills_leave_all_records_saying_the_same_and_fail_no_request(world: World) -> None:
    print(f"\nseed {SEED}, {SECONDS:.0f} s")
    chance, done = random.Random(SEED), Counter[str]()
    services = [await asyncio.to_thread(world.service) for _ in range(10)]
    deadline = time.monotonic() + SECONDS
    async with AsyncExitStack() as stack:
        loads = [
            await stack.enter_async_context(Load(Target(service.host, world.platform.edge_port), 5))
            for service in services
        ]
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(kill(world, random.Random(chance.random()), deadline, done))
            for service in services:
                group.create_task(operate(world, service, random.Random(chance.random()), deadline, done))
        await asyncio.to_thread(assert_true, world)
    print(dict(sorted(done.items())), "requests:", sum(len(load.outcomes) for load in loads))
    cuts = killing.result()
    lost = [failure for load in loads for failure in load.failures if is_physical(failure, cuts)]
    print(f"{len(lost)} requests lost with HAProxy itself, away for {[round(end - began, 1) for began, end in cuts]} s")
    for service, load in zip(services, loads, strict=True):
        assert [one for one in load.failures if not is_physical(one, cuts)] == [], f"{service.name}: {load.summary()}"
    assert_events_tell_the_same(world)


def assert_events_tell_the_same(world: World) -> None:
    """The streams are whole, and folding them again changes no table. Replaying wants nobody writing meanwhile."""
    assert "Every stream is whole." in world.platform.cli.run("admin", "verify").stdout
    until(lambda: "no tables were different" in world.platform.cli.run("admin", "replay", ok=False).stdout, 60)
