"""Builders on one database share one queue: fair, each build once, whatever dies, and a cancelled one frees its slot."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import psycopg
import pytest

from conftest import another_workspace
from converging.world import EngineRoom, Fate, under
from trackside.entry.worker import builder
from trackside.host.errors import PartFailed
from trackside.kit import events as stream
from trackside.rooms.access.model import Grant, Role
from trackside.rooms.deployments import service
from trackside.rooms.deployments.model import Deployment, Place, Status
from trackside.rooms.deployments.service import queue
from trackside.rooms.projects import service as projects

LONG = "RUN sleep 60"


async def another(room: EngineRoom, name: str) -> EngineRoom:
    """The same engine room, as somebody of another workspace sees it."""
    workspace_id = await another_workspace(room.platform, name)
    actor = replace(room.platform.actor, grants=(Grant(workspace_id, Role.OWNER),))
    return replace(room, platform=replace(room.platform, workspace_id=workspace_id, actor=actor))


async def ask(room: EngineRoom, name: str, *steps: str, is_urgent: bool = False) -> Deployment:
    """A deployment to build, of a service of its own."""
    instance = await room.a_service(project=name)
    return await room.ask_for_build(instance.id, *steps, is_urgent=is_urgent)


async def place(room: EngineRoom, deployment: Deployment) -> Place | None:
    async with room.transaction() as tx:
        found = await service.read_deployment(tx, room.platform.actor, deployment.id)
        return (await queue.places_of(tx, [found])).get(deployment.id)


async def follow_mirrors() -> None:
    """There are none here."""


def a_process(room: EngineRoom, slots: int) -> builder.BuilderProcess:
    return builder.BuilderProcess(room.database, room.engine, slots, follow_mirrors, after_fault=0.5)


@asynccontextmanager
async def builders(room: EngineRoom, *slots: int) -> AsyncIterator[None]:
    """Builder processes with so many slots each."""
    running = [asyncio.create_task(builder.run(a_process(room, count))) for count in slots]
    try:
        yield
        assert not any(one.done() for one in running)
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def until_built(room: EngineRoom, *deployments: Deployment) -> None:
    for one in deployments:
        await room.until(one, Status.DEPLOYING)


async def begun(room: EngineRoom) -> list[tuple[datetime, UUID]]:
    """(time, deployment) of each time that a deployment was begun to be built, in this workspace."""
    async with room.transaction() as tx:
        return [
            (recorded.at, recorded.event.deployment_id)
            async for recorded in stream.read(tx, "workspace")
            if recorded.type == "DeploymentProgressed" and recorded.event.status == Status.BUILDING
        ]


async def test_a_builder_looks_where_the_mirrors_are_though_a_look_failed(room: EngineRoom) -> None:
    looks: list[int] = []

    async def look() -> None:
        looks.append(len(looks))
        if len(looks) == 1:
            raise PartFailed("The name server is away.")

    working = asyncio.create_task(builder.run(replace(a_process(room, 1), follow_mirrors=look)))
    async with asyncio.timeout(20):
        while len(looks) < 2:
            await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_builders_share_the_queue_in_turns_and_build_everything_once(room: EngineRoom) -> None:
    """One workspace asked for eight before two others asked for two each; theirs are not the last."""
    second, third = await another(room, "second"), await another(room, "third")
    many = [await ask(room, f"p{number}") for number in range(8)]
    few = [await ask(other, f"p{number}") for other in (second, third) for number in range(2)]
    assert [await place(room, one) for one in many[:2]] == [Place(1, 12, 0), Place(4, 12, 0)]
    async with builders(room, 1, 1):
        await until_built(room, *many)
        for other, asked in ((second, few[:2]), (third, few[2:])):
            await until_built(other, *asked)
    starts = sorted([*await begun(room), *await begun(second), *await begun(third)])
    assert Counter(one for _, one in starts) == {one.id: 1 for one in (*many, *few)}
    order = [one for _, one in starts]
    assert {one.id for one in few} <= set(order[:7]), "they had their turns among the first"
    assert [one for one in order if one in {m.id for m in many}] == [one.id for one in many]


async def test_urgent_then_production_then_the_rest_within_a_workspace(room: EngineRoom) -> None:
    instance = await room.a_service(project="p")
    async with room.transaction() as tx:
        preview = await projects.create_environment(tx, room.platform.actor, instance.project_id, "preview")
        other = next(i for i in await projects.list_instances(tx, instance.project_id) if i.id != instance.id)
    assert other.environment_id == preview.id
    last = await room.ask_for_build(other.id)
    middle = await room.ask_for_build(instance.id)
    first = await ask(room, "q", is_urgent=True)
    assert [await place(room, one) for one in (first, middle, last)] == [Place(n, 3, 0) for n in (1, 2, 3)]


async def test_a_newer_deployment_takes_the_place_of_the_one_it_supersedes(room: EngineRoom) -> None:
    instance = await room.a_service(project="first")
    older = await room.ask_for_build(instance.id)
    following = await ask(room, "second")
    newer = await room.ask_for_build(instance.id)
    assert (await room.read(older.id)).status is Status.REMOVED
    assert [await place(room, one) for one in (older, newer, following)] == [None, Place(1, 2, 0), Place(2, 2, 0)]


async def test_a_build_cancelled_while_it_waits_is_gone_at_once_and_one_that_runs_frees_its_slot(
    room: EngineRoom,
) -> None:
    async with builders(room, 1):
        running = await ask(room, "running", LONG)
        await room.until(running, Status.BUILDING)
        waiting, last = await ask(room, "waiting", LONG), await ask(room, "last")
        assert [await place(room, one) for one in (running, waiting, last)] == [None, Place(1, 2, 1), Place(2, 2, 1)]
        await cancel(room, waiting)
        assert await place(room, last) == Place(1, 1, 1)
        await cancel(room, running)
        async with asyncio.timeout(2):
            await until_built(room, last)
    assert [one for _, one in await begun(room)] == [running.id, last.id]


async def cancel(room: EngineRoom, deployment: Deployment) -> None:
    async with room.transaction() as tx:
        assert (await service.cancel(tx, room.platform.actor, deployment.id)).status is Status.REMOVED


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
async def test_killed_at_any_touch_a_builder_leaves_its_build_to_the_next_which_ends_it(
    room: EngineRoom, step: int
) -> None:
    """The last fate strikes nobody: then every touch, or every fourth, has been the last of one life."""
    for fatal in range(1, 100, step):
        fate, one = Fate(fatal), await ask(room, f"p{fatal}")
        with under(fate):
            mortal = asyncio.create_task(builder.run(a_process(room, 1)))
        built = asyncio.create_task(until_built(room, one))
        await asyncio.wait({mortal, built}, return_when=asyncio.FIRST_COMPLETED)
        async with builders(room, 1):
            await built
        mortal.cancel()
        await asyncio.gather(mortal, return_exceptions=True)
        assert await images(room, one) == 1, fatal
        if not fate.has_struck:
            break
    assert fatal > 20
    assert list((room.directory / "trees").iterdir()) == []


async def images(room: EngineRoom, deployment: Deployment) -> int:
    """How often an image of it was recorded."""
    async with room.transaction() as tx:
        history = await service.history(tx, room.platform.actor, deployment.id)
    return sum(recorded.type == "ImageReady" for recorded in history)


async def test_a_builder_that_loses_its_lease_ends_the_build_and_begins_it_again(room: EngineRoom) -> None:
    """As when the database restarts: another builder may have begun it meanwhile."""
    async with builders(room, 1):
        one = await ask(room, "one", LONG)
        await room.until(one, Status.BUILDING)
        assert await end_leases(room) == 1

        async def is_begun_again() -> bool:
            return await steps_begun(room, one) == 2

        await until(is_begun_again)
    assert len(await begun(room)) == 1
    assert (await room.read(one.id)).status is Status.BUILDING


async def test_a_build_whose_lease_was_lost_is_not_asked_for_again_and_again_by_the_slot_beside_it(
    room: EngineRoom,
) -> None:
    """Its own slot finds out within a second; until it has ended it, the other has nothing to do with it."""
    fate = Fate()
    with under(fate):
        working = asyncio.create_task(builder.run(a_process(room, 2)))
    try:
        one = await ask(room, "one", LONG)
        await room.until(one, Status.BUILDING)
        before = fate.passed
        assert await end_leases(room) >= 1  # the slot beside it may be choosing in this moment
        await until_built(room, await ask(room, "another"))

        async def is_begun_again() -> bool:
            return await steps_begun(room, one) >= 2

        await until(is_begun_again)
        assert fate.passed - before < 150, (
            "looks and saves of two slots in some seconds; a slot that spins has thousands"
        )
        await asyncio.sleep(0)
        assert await steps_begun(room, one) == 2
        assert not working.done()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def end_leases(room: EngineRoom) -> int:
    """End the connections that hold a lease; how many did."""
    query = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with await psycopg.AsyncConnection.connect(room.platform.database.url) as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(row[0])


async def steps_begun(room: EngineRoom, deployment: Deployment) -> int:
    """How often it came to fetching its source."""
    async with room.transaction() as tx:
        history = await service.history(tx, room.platform.actor, deployment.id)
    return sum(recorded.type == "StepStarted" and recorded.event.step == "SNAPSHOT_CODE" for recorded in history)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_build_that_the_world_prevents_is_left_alone_while_others_have_their_turn(room: EngineRoom) -> None:
    prevented = await ask(room, "prevented")
    in_the_way = room.directory / "trees" / prevented.id.hex
    in_the_way.parent.mkdir()
    in_the_way.touch()
    async with builders(room, 1):
        await until_built(room, await ask(room, "another"))
        assert (await room.read(prevented.id)).status is Status.BUILDING
        in_the_way.unlink()
        await until_built(room, prevented)
