"""The timer's look at everything that is due: what rests is left alone, what does not is found, at the price of one listing."""

from dataclasses import replace

from converging.world import EngineRoom, Fate, until_done
from trackside.kit.ids import new_id
from trackside.rooms.deployments.model import Status


async def touches(room: EngineRoom) -> int:
    """How often a look at everything touches the engine and the database."""
    fate = Fate()
    await until_done(room.engine.restless, fate)
    return fate.passed


async def test_what_rests_is_left_alone_and_what_lacks_a_replica_is_found(room: EngineRoom) -> None:
    peaceful, robbed = [await room.a_service(project=name) for name in ("peaceful", "robbed")]
    for instance in (peaceful, robbed):
        assert (await room.serve(instance.id, "app:1", numReplicas=2)).status is Status.SUCCESS
    assert await room.engine.restless() == []
    await room.runtime.remove((await room.seen(robbed.id))[0].replica_id)
    assert await room.engine.restless() == [(room.platform.workspace_id, robbed.id)]
    await room.converge(robbed.id)
    assert await room.engine.restless() == []


async def test_a_deployment_under_way_is_found_until_it_has_ended(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await room.deploy(instance.id, "app:1")
    await room.engine.prepare(room.platform.workspace_id, made.id)
    assert await room.engine.restless() == [(room.platform.workspace_id, instance.id)]
    await room.converge(instance.id)
    assert await room.engine.restless() == []


async def test_a_container_that_no_record_knows_is_found(room: EngineRoom) -> None:
    instance = await room.a_service()
    await room.serve(instance.id, "app:1")
    known = (await room.seen(instance.id))[0]
    stranger = replace(room.runtime.workload(known.replica_id), replica_id=new_id())
    await room.runtime.start(stranger)
    assert await room.engine.restless() == [(room.platform.workspace_id, instance.id)]


async def test_many_services_cost_as_many_looks_as_one(room: EngineRoom) -> None:
    await room.serve((await room.a_service(project="first")).id, "app:1")
    alone = await touches(room)
    for number in range(4):
        await room.serve((await room.a_service(project=f"p{number}")).id, "app:1")
    assert await touches(room) == alone
