"""A clock that is put forward or back while deployments are under way: nothing is late, nothing waits, and the order stays."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import Platform
from converging.test_converging import asking_all_the_time, assert_at_rest
from converging.world import SERVES, EngineRoom, engine_room
from trackside.kit.clock import FrozenClock, Stopwatch
from trackside.rooms.deployments.model import Deployment, Status

JUMPS = [timedelta(days=-1), timedelta(hours=-1), timedelta(hours=1), timedelta(days=1)]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class JumpingClock:
    """The machine's clock, put forward or back."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_what_was_met_before_a_jump_is_as_old_as_it_really_is(jump: timedelta) -> None:
    lived = [0.0]
    clock = FrozenClock(NOON)
    stopwatch = Stopwatch(clock, lambda: lived[0])
    moment = NOON - timedelta(seconds=3)
    assert stopwatch.read().placed(moment) == moment
    lived[0] = 5
    clock.set(NOON + jump)
    reading = stopwatch.read()
    assert reading.now - reading.placed(moment) == timedelta(seconds=8)


def test_a_moment_that_lies_in_the_future_when_it_is_met_is_now() -> None:
    lived = [0.0]
    clock = FrozenClock(NOON)
    stopwatch = Stopwatch(clock, lambda: lived[0])
    tomorrow = NOON + timedelta(days=1)
    assert stopwatch.read().placed(tomorrow) == NOON
    lived[0] = 2
    assert stopwatch.read().placed(tomorrow) == NOON - timedelta(seconds=2)


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_what_is_met_only_after_a_jump_is_taken_for_young(jump: timedelta) -> None:
    """It may have been written a moment before it: waiting a little longer than needed does no harm."""
    lived = [0.0]
    clock = FrozenClock(NOON)
    stopwatch = Stopwatch(clock, lambda: lived[0])
    stopwatch.read()
    lived[0] = 5
    clock.set(NOON + jump)
    reading = stopwatch.read()
    for written in (NOON + timedelta(seconds=4), NOON + jump - timedelta(seconds=1)):
        assert reading.now - reading.placed(written) == timedelta(seconds=1)


async def until_step(room: EngineRoom, made: Deployment, step: str) -> None:
    async with asyncio.timeout(20):
        while not any(each.name == step for each in (await room.read(made.id)).steps):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("jump", JUMPS, ids=str)
async def test_a_deployment_under_way_takes_as_long_as_ever_and_replaces_the_old_one(
    platform: Platform, tmp_path: Path, jump: timedelta
) -> None:
    """The clock jumps while the new version is verified."""
    clock = JumpingClock()
    platform.database.clock = clock
    async with engine_room(platform, tmp_path, clock=clock) as room:
        instance = await room.a_service()
        first = await room.serve(instance.id, "app:1")
        image = room.images.put_in_registry("app:2")
        room.runtime.behave(image.id, replace(SERVES, listening=()))
        made = await room.request(instance.id, "app:2")
        host = await room.host(instance.id)
        async with asking_all_the_time(room, host):
            jobs = asyncio.create_task(room.run_jobs(made))
            await until_step(room, made, "HEALTHCHECK")
            clock.offset = jump
            for seen in await room.seen(instance.id):
                if seen.deployment_id == made.id:
                    room.runtime.listen(seen.replica_id, 8080)
            async with asyncio.timeout(20):
                await jobs
        second = await room.read(made.id)
        assert (second.status, second.reason) == (Status.SUCCESS, None)
        assert (await room.read(first.id)).status is Status.REMOVED
        await assert_at_rest(room, second, 1)
        third = await room.serve(instance.id, "app:3")
        assert third.status is Status.SUCCESS
        assert third.created_at > second.created_at > first.created_at
        await assert_at_rest(room, third, 1)
