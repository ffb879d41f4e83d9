"""Every failpoint that the code declares × the process that comes to it: killed exactly there, all ends true.

The points are read from the code, so a new step is covered by itself; which operation comes to which point, in which process, is
found out by doing every operation once.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from e2e.conftest import until
from edge.load import Load, Target
from survival.operations import CHEAPEST_FIRST, LATER, Operation, under_way
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

Way = tuple[str, str]
"""(process, point)."""


def step_of(point: str) -> str:
    """The step that a point is before or after."""
    return point.rpartition(".")[0]


@dataclass
class Ways:
    """Which operation comes to which points, in which processes; the cheapest first."""

    service: Service
    of: dict[type[Operation], list[Way]] = field(default_factory=dict)

    def processes(self, point: str) -> list[str]:
        return sorted({process for ways in self.of.values() for process, passed in ways if passed == point})

    def cheapest(self, way: Way) -> type[Operation]:
        return next(kind for kind, ways in self.of.items() if way in ways)


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
async def test_killed_before_and_after_any_step_every_operation_ends_true_and_no_request_fails(
    world: World, ways: Ways, step: str
) -> None:
    """Twice in one operation: who comes back does the step again, and is killed after it."""
    points = sorted(
        (point for point in POINTS if step_of(point) == step),
        key=lambda point: ORDER[point.rpartition(".")[2]],
    )
    for process in sorted(set(itertools.chain(*map(ways.processes, points)))):
        ways_there = [(process, point) for point in points if process in ways.processes(point)]
        await strike(world, ways, ways.cheapest(ways_there[-1]), ways_there, process)
    for point in points:
        assert ways.processes(point), f"no operation comes to {point}: add one"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", range(len(CHEAPEST_FIRST)), ids=[kind.__name__ for kind in CHEAPEST_FIRST])
async def test_anything_else_killed_at_one_of_its_steps_an_operation_ends_true(
    world: World, ways: Ways, number: int
) -> None:
    """One step and one victim for each: the whole matrix takes hours.

    An operation may have passed a step once only because of what it found under way: then the next step is taken.
    """
    kind, victim = CHEAPEST_FIRST[number], VICTIMS[number % len(VICTIMS)]
    steps = ways.of[kind]
    for turn in range(len(steps)):
        if await strike_once(world, ways, kind, [steps[(number + turn) % len(steps)]], victim):
            return
    raise AssertionError(f"none of {steps} was reached")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("point", POINTS)
async def test_the_whole_matrix(world: World, ways: Ways, point: str, victim: str) -> None:
    for process in ways.processes(point):
        await strike(world, ways, ways.cheapest((process, point)), [(process, point)], victim)


async def strike(world: World, ways: Ways, kind: type[Operation], there: Sequence[Way], victim: str) -> None:
    """Do what comes this way, halt at each point, kill the victim there, and see that all ends true."""
    left = [*there]
    while left:
        struck = await strike_once(world, ways, kind, left, victim)
        assert struck, f"{left[0]} was not reached"
        left = left[struck:]


async def strike_once(world: World, ways: Ways, kind: type[Operation], there: Sequence[Way], victim: str) -> int:
    """The same in one operation; how many of the points it came to, in their order."""
    operation = kind(world, ways.service)
    await asyncio.to_thread(operation.prepare)
    async with under_load(world, ways.service) as load:
        try:
            struck = await asyncio.to_thread(strike_at, world, operation, there, victim)
        finally:
            world.disarm()
    assert_lost_nothing(load, victim, f"{there}, {victim} killed")
    return struck


def becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it does, within these seconds."""
    with suppress(AssertionError):
        return bool(until(condition, seconds))
    return False


def strike_at(world: World, operation: Operation, there: Sequence[Way], victim: str) -> int:
    """How many of the points were struck in this operation: what is found done is not done again."""
    struck = 0
    world.arm(*there[0])
    with under_way(operation) as doing:
        for way, following in zip(there, (*there[1:], None), strict=True):
            until(lambda way=way: world.is_halted(*way) or doing.done(), 100, lambda way=way: f"{way} is reached")
            if not becomes_true(lambda way=way: world.is_halted(*way), LATE_SECONDS):
                break
            if following:
                world.arm(*following)
            killed = world.kill(victim)
            world.let_go(*way)
            until(lambda killed=killed: world.pid(victim) not in (None, killed), 30, lambda: f"{victim} is back")
            struck += 1
    if operation.serving:  # a HAProxy that was just killed may be a moment away: how long, the load tells
        until(lambda: operation.service.says() == operation.serving, 5, operation.service.says)
    assert_true(world)
    return struck


def assert_lost_nothing(load: Load, victim: str, what: str) -> None:
    """But what HAProxy had open when it was killed itself, and what came in the second after."""
    if victim != "haproxy":
        assert load.failures == [], f"{what}: {load.summary()}"
        return
    print(f"{what}: {len(load.failures)} of {len(load.outcomes)} requests lost")
    assert not load.failures or load.failures[-1].started - load.failures[0].started < 1, load.summary()
