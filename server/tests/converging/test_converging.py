"""A deployment's whole life on the real database: made, arrived, swapped, drained, ended."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from converging.world import EngineRoom, Fate
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import Deployment, SeenState, Status
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Page
from trackside.rooms.telemetry.model import LogKind, Stream

LANES = 4


@asynccontextmanager
async def asking_all_the_time(room: EngineRoom, host: str) -> AsyncIterator[list[UUID]]:
    """Requests one after the other; each must get to a replica, and the replica must run until it has answered."""
    answered: list[UUID] = []

    async def ask() -> None:
        while True:
            replica_id = room.proxy.open_request(host)
            assert replica_id is not None, "a request found nobody"
            try:
                await asyncio.sleep(0.005)
                states = {seen.replica_id: seen.state for seen in await room.runtime.observe_all()}
                assert states.get(replica_id) is SeenState.RUNNING, "a request was cut"
            finally:
                room.proxy.close_request(replica_id)
            answered.append(replica_id)

    asking = asyncio.create_task(ask())
    try:
        yield answered
        assert not asking.done(), asking.exception()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def assert_at_rest(room: EngineRoom, served: Deployment, replicas: int) -> None:
    """Nothing but this deployment is left, anywhere."""
    seen = await room.seen(served.service_instance_id)
    assert [(one.deployment_id, one.state) for one in seen] == [(served.id, SeenState.RUNNING)] * replicas
    async with room.transaction() as tx:
        records = await deployments.replicas_of(tx, [served.id])
        backends = await networking.backends_of(tx, served.service_instance_id)
        route = await networking.route_of(tx, served.service_instance_id)
        everything = await deployments.list_deployments(tx, room.platform.actor, served.service_instance_id, 100)
        left = await deployments.replicas_of(tx, [one.id for one in everything if one.id != served.id])
    assert {record.id for record in records} == {one.replica_id for one in seen}
    assert [backend.deployment_id for backend in backends] == [served.id]
    assert route is not None
    assert route[1] == served.id
    assert list(left) == []
    assert all(step.completed_at is not None for one in everything for step in one.steps)


async def messages(room: EngineRoom, deployment: Deployment) -> list[str]:
    stream = Stream(room.platform.workspace_id, LogKind.DEPLOY, deployment.id)
    return [line.message for line in await room.log_store.read(stream)]


async def test_a_deployment_is_made_arrives_is_replaced_drains_and_ends(room: EngineRoom) -> None:
    instance = await room.a_service()
    first = await room.serve(instance.id, "app:1")
    assert first.status is Status.SUCCESS
    host = await room.host(instance.id)
    long_request = room.proxy.open_request(host)
    assert long_request is not None
    second = await room.deploy(instance.id, "app:2", numReplicas=2)
    async with asking_all_the_time(room, host) as answered:
        jobs = asyncio.create_task(room.run_jobs(second))
        await room.until(first, Status.REMOVING)
        # The traffic has moved; an open request holds the old version, and with it the report of success.
        assert answered[-1] != long_request
        assert (await room.read(second.id)).status is Status.DEPLOYING
        assert long_request in {seen.replica_id for seen in await room.seen(instance.id)}
        room.proxy.close_request(long_request)
        await jobs
        swapped_at = answered.index(next(one for one in answered if one != long_request))
        assert long_request not in answered[swapped_at:]
    assert (await room.read(first.id)).status is Status.REMOVED
    assert (await room.read(second.id)).status is Status.SUCCESS
    await assert_at_rest(room, second, 2)
    assert await messages(room, first) == ["started", "stopping"]


async def test_a_fault_of_ours_ends_the_deployment_with_a_sentence_instead_of_trying_for_ever(room: EngineRoom) -> None:
    instance = await room.a_service()
    served = await room.serve(instance.id, "app:1")
    made = await room.deploy(instance.id, "app:2")
    room.images.registry["app:2"] = "nonsense"
    await room.run_jobs(made)
    failed = await room.read(made.id)
    assert (failed.status, failed.reason) == (Status.FAILED, "Something went wrong on our side.")
    assert (await room.read(served.id)).status is Status.SUCCESS


async def test_a_service_that_is_taken_down_leaves_a_page_and_nothing_else(room: EngineRoom) -> None:
    instance = await room.a_service()
    served = await room.serve(instance.id, "app:1")
    async with room.transaction() as tx:
        await deployments.take_down(tx, room.platform.actor, instance.id)
    await room.converge(instance.id)
    assert (await room.read(served.id)).status is Status.REMOVED
    assert list(await room.seen(instance.id)) == []
    async with room.transaction() as tx:
        assert await networking.backends_of(tx, instance.id) == []
        route = await networking.route_of(tx, instance.id)
    assert route is not None
    assert isinstance(route[0].target, Page)


async def replace(room: EngineRoom, before: Deployment, reference: str, fate: Fate) -> Deployment:
    """Replace a serving version by another, with the job killed at a touch and begun again."""
    after = await room.deploy(before.service_instance_id, reference, numReplicas=2)
    async with asking_all_the_time(room, await room.host(before.service_instance_id)):
        await room.run_jobs(after, fate)
    assert (await room.read(before.id)).status is Status.REMOVED
    after = await room.read(after.id)
    assert after.status is Status.SUCCESS, after.reason
    await assert_at_rest(room, after, 2)
    assert set(await messages(room, before)) == {"started", "stopping"}
    return after


async def replace_killed_at(room: EngineRoom, lane: int, touches: Iterable[int]) -> int:
    """One replacement after the other on a service of its own; how many were really killed."""
    instance = await room.a_service(project=f"shop-{lane}")
    served, struck = await room.serve(instance.id, "app:0", numReplicas=2), 0
    for touch in touches:
        fate = Fate(touch)
        served = await replace(room, served, f"app:{touch}", fate)
        struck += fate.has_struck
    return struck


async def count_touches(room: EngineRoom) -> int:
    instance = await room.a_service(project="counted")
    fate = Fate()
    await replace(room, await room.serve(instance.id, "app:0", numReplicas=2), "app:1", fate)
    return fate.passed


async def test_killed_at_a_touch_and_begun_again_a_deployment_comes_to_the_same_end(room: EngineRoom) -> None:
    """Every eighth touch; the next test takes them all."""
    touches = range(3, await count_touches(room) - 10, 8)
    assert await replace_killed_at(room, 1, touches) == len(touches) > 8


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_at_any_touch_and_begun_again_a_deployment_comes_to_the_same_end(room: EngineRoom) -> None:
    """How often a job looks before something is done depends on the moment, so the last touches may not be reached."""
    touches = await count_touches(room)
    lanes = (replace_killed_at(room, lane, range(lane, touches + 1, LANES)) for lane in range(1, LANES + 1))
    assert sum(await asyncio.gather(*lanes)) > touches * 0.8
