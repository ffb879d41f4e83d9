"""Garbage without a job, on the real database: what a lost job or a killed process left goes by the timer; all else stays."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from contracts.workloads import App, a_workload
from converging.world import ADDRESSING, EngineRoom
from trackside.entry.worker.collecting import collecting
from trackside.entry.worker.nudges import forever
from trackside.kit import events as stream
from trackside.kit.garbage import Freed
from trackside.kit.leases import open_leases
from trackside.rooms.builds.model import BuildOrder, Image
from trackside.rooms.deployments import events, service
from trackside.rooms.deployments.converge.queueing import CHOICE
from trackside.rooms.deployments.model import Network, Status

BUILT = Image("sha256:" + "5e" * 32, size_bytes=7)


async def collect(room: EngineRoom, *, is_trial: bool = False) -> list[Freed]:
    seen = await room.runtime.observe_all()
    room.images.in_use = {room.runtime.workload(one.replica_id).image_id for one in seen}
    return await room.engine.collect(is_trial=is_trial)


def kinds(freed: Sequence[Freed]) -> dict[str, int]:
    return {one.kind: one.count for one in freed}


async def test_images_go_without_a_job_when_nobody_can_go_back_to_them(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = [await room.serve(instance.id, f"app:{number}") for number in range(7)]
    assert len(await room.images.kept()) == 7
    assert kinds(await collect(room)) == {"images nobody can go back to": 2}
    assert {name.partition("/")[2] for name in await room.images.kept()} == {one.id.hex for one in made[2:]}
    assert await collect(room) == []
    async with room.transaction() as tx:
        back = await service.roll_back(tx, room.platform.actor, ADDRESSING, made[2].id)
    await room.converge(instance.id)
    assert (await room.read(back.id)).status is Status.SUCCESS


async def test_containers_networks_and_images_of_what_is_not_on_record_go_and_the_others_stay(room: EngineRoom) -> None:
    instance = await room.a_service()
    served = await room.serve(instance.id, "app:1")
    nowhere = a_workload(App("sha256:none"), ADDRESSING.subnet(200))
    await room.runtime.start(nowhere)
    image = room.images.put_in_registry("app:9")
    await room.images.pull("app:9", _unheard, f"{uuid4().hex}/{uuid4().hex}")
    await room.images.keep(image.id, "not/ours")
    before = await room.runtime.observe(instance.id)
    expected = {
        "containers without a service": 1,
        "networks without an environment": 1,
        "images nobody can go back to": 1,
    }
    assert kinds(await collect(room, is_trial=True)) == expected
    assert len(await room.runtime.observe_all()) == 2, "a trial removed something"
    assert kinds(await collect(room)) == expected
    assert await room.runtime.observe(instance.id) == before
    assert [seen.deployment_id for seen in await room.runtime.observe_all()] == [served.id]
    assert [network.environment_id for network in await room.runtime.networks()] == [instance.environment_id]
    assert set(await room.images.kept()) == {f"{instance.id.hex}/{served.id.hex}", "not/ours"}


async def test_what_a_deployment_is_made_of_a_moment_before_it_is_on_record_stays(room: EngineRoom) -> None:
    instance = await room.a_service()
    coming = await room.deploy(instance.id, "app:1")
    await room.images.pull("app:1", _unheard, f"{instance.id.hex}/{coming.id.hex}")
    await room.runtime.ensure_network(Network(instance.environment_id, await subnet_of(room, instance.environment_id)))
    assert await collect(room) == []


async def subnet_of(room: EngineRoom, environment_id: UUID) -> object:
    async with room.transaction() as tx:
        query = text("SELECT number FROM platform.subnets WHERE environment_id = :id")
        return ADDRESSING.subnet((await tx.connection.execute(query, {"id": environment_id})).scalar_one())


async def test_an_image_that_was_built_and_that_nobody_came_to_hold_goes(room: EngineRoom) -> None:
    room.images.add(BUILT)
    assert await collect(room, is_trial=True) == [Freed("built images without a deployment", 1, 7)]
    assert await room.images.inspect(BUILT.id) is not None
    await collect(room)
    assert await room.images.inspect(BUILT.id) is None


async def test_sources_of_ended_builds_go_and_those_of_present_ones_stay(room: EngineRoom, tmp_path: object) -> None:
    instance = await room.a_service()
    coming = await room.ask_for_build(instance.id)
    async with room.transaction() as tx:
        await stream.record(tx, events.DeploymentProgressed(coming.id, str(Status.BUILDING)))
    trees = room.trees
    for build_id in (coming.id, uuid4()):
        (trees / build_id.hex / "deep").mkdir(parents=True)
    (trees / "not-ours").mkdir()
    assert kinds(await room.engine.collect_of_builds(is_trial=True)) == {"sources of ended builds": 1}
    assert len(list(trees.iterdir())) == 3
    await room.engine.collect_of_builds()
    assert {path.name for path in trees.iterdir()} == {coming.id.hex, "not-ours"}


async def test_nothing_begins_to_be_built_while_garbage_of_builds_is_collected(
    room: EngineRoom, tmp_path: Path
) -> None:
    """A build that is quick would have ended before the collection comes to the images that wait for nothing."""
    ids = uuid4(), room.platform.workspace_id, uuid4()
    await room.builder.build(BuildOrder(*ids, tmp_path, "FROM scratch", is_planned=False), _unheard)
    async with open_leases(room.platform.database.url) as choosing:
        await choosing.take(CHOICE)
        collecting_builds = asyncio.create_task(room.engine.collect_of_builds())
        async with asyncio.timeout(20):
            while not await is_somebody_waiting_for_a_lease(room):
                await asyncio.sleep(0.01)
        assert not collecting_builds.done()
        assert kinds(await room.engine.collect_of_builds(is_trial=True)) == {"images of ended builds": 1}
    assert kinds(await collecting_builds) == {"images of ended builds": 1}


async def is_somebody_waiting_for_a_lease(room: EngineRoom) -> bool:
    query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    async with room.platform.database.transaction() as tx:
        return bool((await tx.connection.execute(query)).scalar_one())


async def test_a_stopped_engine_is_told_and_collected_later(
    room: EngineRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    """The timer tries again by itself."""
    room.images.add(BUILT)
    room.runtime.go_down()
    timer = asyncio.create_task(forever("garbage", lambda: collecting("here", room.engine.collect), pause=0.01))
    async with asyncio.timeout(20):
        while "can't be reached" not in capsys.readouterr().out:
            await asyncio.sleep(0.01)
        room.runtime.come_up()
        while "garbage was removed" not in capsys.readouterr().out:
            await asyncio.sleep(0.01)
    assert await room.images.inspect(BUILT.id) is None
    timer.cancel()
    await asyncio.gather(timer, return_exceptions=True)


async def _unheard(line: str) -> None:
    """Nobody reads the log of these."""
