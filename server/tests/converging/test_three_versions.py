"""Deployments that end, or are replaced, at moments that a plan of two versions does not know."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from converging.test_converging import asking_all_the_time, assert_at_rest
from converging.world import ADDRESSING, SERVES, EngineRoom
from trackside.adapters.memory.runtime import Behaviour
from trackside.rooms.deployments import converge, errors
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import Deployment, Limits, SeenReplica, Status
from trackside.rooms.projects.service import Vault


async def test_a_third_version_that_comes_while_the_first_drains_serves_alone(room: EngineRoom) -> None:
    instance = await room.a_service()
    first = await room.serve(instance.id, "app:1")
    host = await room.host(instance.id)
    long_request = room.proxy.open_request(host)
    assert long_request is not None
    async with asking_all_the_time(room, host):
        second = await room.deploy(instance.id, "app:2")
        jobs = [asyncio.create_task(room.run_jobs(second))]
        await room.until(first, Status.REMOVING)
        third = await room.deploy(instance.id, "app:3")
        assert third.superseded == ()
        await room.engine.prepare(room.platform.workspace_id, third.id)
        await room.until(second, Status.REMOVING)
        room.proxy.close_request(long_request)
        await asyncio.gather(*jobs)
    assert (await room.read(first.id)).status is Status.REMOVED
    assert (await room.read(second.id)).status is Status.REMOVED
    assert (await room.read(second.id)).reason == f"Replaced by {third.id}."
    assert (await room.read(third.id)).status is Status.SUCCESS
    await assert_at_rest(room, third, 1)


async def test_taken_down_while_the_old_version_drains_every_step_is_closed(room: EngineRoom) -> None:
    instance = await room.a_service()
    first = await room.serve(instance.id, "app:1")
    long_request = room.proxy.open_request(await room.host(instance.id))
    assert long_request is not None
    second = await room.deploy(instance.id, "app:2")
    jobs = asyncio.create_task(room.run_jobs(second))
    await room.until(first, Status.REMOVING)
    async with room.transaction() as tx:
        await deployments.take_down(tx, room.platform.actor, instance.id)
    room.proxy.close_request(long_request)
    await jobs
    ended = await room.read(second.id)
    assert ended.status is Status.REMOVED
    assert [step.name for step in ended.steps if step.completed_at is None] == []


async def test_a_worker_that_has_taken_over_cannot_be_cancelled_while_the_old_one_ends(room: EngineRoom) -> None:
    """Nothing would be left running."""
    instance = await room.a_service()
    for version in ("1", "2"):
        image = room.images.put_in_registry(f"worker:{version}")
        room.runtime.behave(image.id, Behaviour(output=("started",), stop_after=1.0))
    first = await room.request(instance.id, "worker:1", healthcheckType="NONE")
    await room.run_jobs(first)
    second = await room.request(instance.id, "worker:2", healthcheckType="NONE")
    jobs = asyncio.create_task(room.run_jobs(second))
    await room.until(first, Status.REMOVING)
    with pytest.raises(errors.NotCancellable):
        async with room.transaction() as tx:
            await deployments.cancel(tx, room.platform.actor, second.id)
    await jobs
    assert (await room.read(second.id)).status is Status.SUCCESS
    assert {seen.deployment_id for seen in await room.seen(instance.id)} == {second.id}


class Meanwhile:
    """A runtime at whose first look something happens elsewhere."""

    def __init__(self, runtime: Any, act: Callable[[], Awaitable[None]]) -> None:
        self._runtime = runtime
        self._act: Callable[[], Awaitable[None]] | None = act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    async def observe(self, instance_id: UUID) -> Sequence[SeenReplica]:
        seen = await self._runtime.observe(instance_id)
        if act := self._act:
            self._act = None
            await act()
        return seen


async def test_a_deployment_that_is_cancelled_during_a_look_at_it_has_nothing_written_on_it(room: EngineRoom) -> None:
    instance = await room.a_service()
    image = room.images.put_in_registry("app:1")
    room.runtime.behave(image.id, SERVES)
    made: Deployment = await room.request(instance.id, "app:1")
    await room.engine.prepare(room.platform.workspace_id, made.id)

    async def cancel() -> None:
        async with room.transaction() as tx:
            await deployments.cancel(tx, room.platform.actor, made.id)

    parts = converge.Parts(room.platform.database, Meanwhile(room.runtime, cancel), Any, Vault(room.platform.keyring))
    await converge.Converger(parts, ADDRESSING, Limits()).step(room.platform.workspace_id, instance.id)
    ended = await room.read(made.id)
    assert ended.status is Status.REMOVED
    assert [step.name for step in ended.steps if step.completed_at is None] == []
    async with room.transaction() as tx:
        assert list(await deployments.replicas_of(tx, [made.id])) == []
