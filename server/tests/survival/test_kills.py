"""Every step that the code declares × the process that comes to it, and one other victim: killed exactly there, all ends true.

The steps are read from the code, so a new one is covered by itself; which operation comes to which, in which process, is found out
by doing every operation once. Operations, victims and sides of a step take turns from day to day: `TRACKSIDE_TURN=N` repeats one.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from zlib import crc32

import pytest

from e2e.conftest import until
from edge.load import Load, Target
from survival.operations import CHEAPEST_FIRST, LATER, TAKING_TURNS, Operation, under_way
from survival.truth import assert_true
from survival.world import Service, World
from trackside import bootstrap
from trackside.kit import failpoints
from trackside.kit.jobs import Jobs

bootstrap.know_events(Jobs(""))
UNREACHED = {
    "WorkspaceCreated": "the first start makes it, before anything runs",
    "Grow": "takes four hundred services; the edge's own tests come to it",
    "Open": "takes a boot of the machine; the tests of that strike there",
    "UploadDropped": "a timer makes it, of uploads an hour old, in one transaction; what it leaves on the disk goes with the next pass",
    "TokenCreated": "a host command makes it, in one transaction",
    "TokenRevoked": "a host command makes it, in one transaction",
}
POINTS = sorted(point for point in failpoints.declared() if point.partition(".")[0] not in UNREACHED)
VICTIMS = ("engine", "haproxy", "postgres", "containerd", "supervisor", "build-engine", "watcher", "watchdog")
VICTIMS += ("gateway", "deployer", "builder", "monitor", "edge")
"""Everything that runs."""
LATE_SECONDS = 8
"""What an operation is over for who asked for it, and still clears away."""
ORDER = {"before": 0, "recorded": 0, "after": 1, "committed": 1}

TURN = int(os.environ.get("TRACKSIDE_TURN", datetime.now(UTC).toordinal()))

Way = tuple[str, str]
"""(process, point)."""
T = TypeVar("T")
Strike = tuple[Way, str]
"""Where somebody is halted, and who is killed meanwhile."""


def step_of(point: str) -> str:
    """The step that a point is before or after."""
    return point.rpartition(".")[0]


def in_turn(choices: Sequence[T], name: str) -> Sequence[T]:
    """The choices, that first whose turn it is today for something of this name."""
    first = (TURN + crc32(name.encode())) % len(choices)
    return [*choices[first:], *choices[:first]]


@dataclass
class Ways:
    """Which operation comes to which points, in which processes; the cheapest first."""

    service: Service
    of: dict[type[Operation], list[Way]] = field(default_factory=dict)

    def processes(self, point: str) -> list[str]:
        return sorted({process for ways in self.of.values() for process, passed in ways if passed == point})

    def kinds(self, way: Way) -> Sequence[type[Operation]]:
        """The operations that come this way, that first whose turn it is. One may have come there only by what it found under way."""
        there = [kind for kind, ways in self.of.items() if way in ways]
        return in_turn([kind for kind in there if kind in TAKING_TURNS] or there, way[1])


@pytest.fixture(scope="module")
def ways(world: World) -> Ways:
    """Every operation done once, unharmed."""
    found = Ways(world.service())
    for kind in CHEAPEST_FIRST:
        operation = kind(world, found.service)
        operation.prepare()
        world.passed()
        operation.begin()
        operation.end()
        until(lambda: assert_true(world) is None, 30)
        found.of[kind] = sorted(way for way in world.passed() if LATER.get(step_of(way[1]), kind) is kind)
    return found


@asynccontextmanager
async def under_load(world: World, service: Service) -> AsyncIterator[Load]:
    """Requests to what serves, each of which must succeed."""
    async with Load(Target(service.host, world.platform.edge_port), 30) as load:
        yield load


@pytest.mark.timeout(400)
@pytest.mark.parametrize("step", sorted({step_of(point) for point in POINTS}))
async def test_killed_at_any_step_every_operation_ends_true_and_no_request_fails(
    world: World, ways: Ways, step: str
) -> None:
    """Twice in one operation: who does the step on one side of it, somebody else on the other."""
    points = sorted(
        (point for point in POINTS if step_of(point) == step),
        key=lambda point: ORDER[point.rpartition(".")[2]],
    )
    for process in sorted(set(itertools.chain(*map(ways.processes, points)))):
        there = [(process, point) for point in points if process in ways.processes(point)]
        other = in_turn([victim for victim in VICTIMS if victim != process], step)[0]
        victims = in_turn([(process, other), (other, process)], f"{step} {process}")[0]
        await strike(world, ways, [(there[0], victims[0]), (there[-1], victims[1])])
    for point in points:
        assert ways.processes(point), f"no operation comes to {point}: add one"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("point", POINTS)
async def test_the_whole_matrix(world: World, ways: Ways, point: str, victim: str) -> None:
    for process in ways.processes(point):
        await strike(world, ways, [((process, point), victim)])


async def strike(world: World, ways: Ways, there: Sequence[Strike]) -> None:
    """Do what comes this way, halt at each point, kill the victim there, and see that all ends true."""
    left = [*there]
    while left:
        for kind in ways.kinds(left[0][0]):
            print(f"turn {TURN}: {kind.__name__} struck at {left}")
            if struck := await strike_once(world, ways, kind, left):
                break
        else:
            raise AssertionError(f"{left[0]} was not reached")
        left = left[struck:]


async def strike_once(world: World, ways: Ways, kind: type[Operation], there: Sequence[Strike]) -> int:
    """The same in one operation; how many of the points it came to, in their order."""
    operation = kind(world, ways.service)
    await asyncio.to_thread(operation.prepare)
    async with under_load(world, ways.service) as load:
        try:
            struck = await asyncio.to_thread(strike_at, world, operation, there)
        finally:
            world.disarm()
    assert_lost_nothing(load, {victim for _, victim in there[:struck]}, f"{kind.__name__} struck at {there}")
    return struck


def becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it does, within these seconds."""
    with suppress(AssertionError):
        return bool(until(condition, seconds))
    return False


def strike_at(world: World, operation: Operation, there: Sequence[Strike]) -> int:
    """How many of the points were struck in this operation: what is found done is not done again."""
    struck = 0
    world.arm(*there[0][0])
    with under_way(operation) as doing:
        for (way, victim), following in zip(there, (*there[1:], None), strict=True):
            until(lambda way=way: world.is_halted(*way) or doing.done(), 100, lambda way=way: f"{way} is reached")
            if not becomes_true(lambda way=way: world.is_halted(*way), LATE_SECONDS):
                break
            if following:
                world.arm(*following[0])
            killed = world.kill(victim)
            world.let_go(*way)
            until(
                lambda victim=victim, killed=killed: world.pid(victim) not in (None, killed),
                30,
                lambda victim=victim: f"{victim} is back",
            )
            struck += 1
    if operation.serving:  # a HAProxy that was just killed may be a moment away: how long, the load tells
        until(lambda: operation.service.says() == operation.serving, 5, operation.service.says)
    assert_true(world)
    return struck


def assert_lost_nothing(load: Load, victims: set[str], what: str) -> None:
    """But what HAProxy had open when it was killed itself, and what came in the second after."""
    if "haproxy" not in victims:
        assert load.failures == [], f"{what}: {load.summary()}"
        return
    print(f"{what}: {len(load.failures)} of {len(load.outcomes)} requests lost")
    assert not load.failures or load.failures[-1].started - load.failures[0].started < 1, load.summary()
