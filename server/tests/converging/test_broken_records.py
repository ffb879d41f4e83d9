"""Records of one workspace that can't be read: its fault is logged, and everything else goes on."""

from dataclasses import replace

import psycopg
from psycopg import sql
from sqlalchemy import update
from structlog.testing import capture_logs

from conftest import another_workspace
from converging.world import EngineRoom
from trackside.kit.db import schema_of
from trackside.kit.leases import open_leases
from trackside.rooms.access.model import Grant, Role
from trackside.rooms.deployments import store
from trackside.rooms.deployments.model import Deployment

UNREADABLE = {"settings": {"restart_policy": "NONSENSE"}, "image": {"image_id": {}}, "source": {"kind": "image"}}


async def another(room: EngineRoom) -> EngineRoom:
    """The same engine room, as somebody of another workspace sees it."""
    workspace_id = await another_workspace(room.platform, "another")
    actor = replace(room.platform.actor, grants=(Grant(workspace_id, Role.OWNER),))
    return replace(room, platform=replace(room.platform, workspace_id=workspace_id, actor=actor))


async def break_record(room: EngineRoom, deployment: Deployment) -> None:
    async with room.transaction() as tx:
        is_it = store.deployments.c.id == deployment.id
        await tx.connection.execute(update(store.deployments).where(is_it).values(**UNREADABLE))


async def lose_table(room: EngineRoom) -> None:
    """As a workspace may be whose schema is being dropped."""
    schema = sql.Identifier(schema_of(room.platform.workspace_id))
    async with await psycopg.AsyncConnection.connect(room.platform.owner_url) as connection:
        await connection.execute(sql.SQL("ALTER TABLE {}.deployments RENAME TO lost").format(schema))


async def is_held(room: EngineRoom, deployment: Deployment) -> bool:
    return any(name.endswith(deployment.id.hex) for name in await room.images.kept())


async def test_the_timer_finds_what_is_restless_beside_a_record_that_can_t_be_read(room: EngineRoom) -> None:
    broken, robbed = [await room.a_service(project=name) for name in ("broken", "robbed")]
    others = await another(room)
    elsewhere = await others.a_service()
    unreadable = await room.serve(broken.id, "app:1")
    for where, instance in ((room, robbed), (others, elsewhere)):
        await where.serve(instance.id, "app:1")
        await where.runtime.remove((await where.seen(instance.id))[0].replica_id)
    await break_record(room, unreadable)
    with capture_logs() as logged:
        found = await room.engine.restless()
    ids = room.platform.workspace_id, others.platform.workspace_id
    assert sorted(found) == sorted([(ids[0], robbed.id), (ids[1], elsewhere.id)])
    assert [(one["event"], one["instance"]) for one in logged] == [("a workspace is left out", str(broken.id))]


async def test_images_are_pulled_and_collected_beside_a_workspace_that_can_t_be_read(room: EngineRoom) -> None:
    others = await another(room)
    kept = await others.serve((await others.a_service()).id, "app:1")
    waiting = await room.deploy((await room.a_service()).id, "app:1")
    await others.deploy((await others.a_service(project="second")).id, "app:1")
    await lose_table(others)
    with capture_logs() as logged:
        assert await room.engine.unpulled() == [(room.platform.workspace_id, waiting.id)]
        await room.engine.collect()
    assert {one["workspace"] for one in logged} == {str(others.platform.workspace_id)}
    assert await is_held(others, kept)


async def test_others_are_built_while_the_one_whose_turn_is_next_can_t_be_read(room: EngineRoom) -> None:
    broken = await room.ask_for_build((await room.a_service()).id)
    others = await another(room)
    waiting = await others.ask_for_build((await others.a_service()).id)
    await break_record(room, broken)
    async with open_leases(room.platform.database.url) as leases:
        with capture_logs() as logged:
            claim = await room.engine.queue.claim(leases, lambda _: False)
        assert claim is not None
        assert claim.deployment_id == waiting.id
        assert [one["workspace"] for one in logged] == [str(room.platform.workspace_id)]
        assert await leases.try_take(f"build:{broken.id}")


async def test_the_next_of_a_workspace_is_built_while_its_first_record_can_t_be_read(room: EngineRoom) -> None:
    broken, waiting = [
        await room.ask_for_build((await room.a_service(project=name)).id) for name in ("first", "second")
    ]
    await break_record(room, broken)
    async with open_leases(room.platform.database.url) as leases:
        with capture_logs() as logged:
            claim = await room.engine.queue.claim(leases, lambda _: False)
        assert claim is not None
        assert claim.deployment_id == waiting.id
        assert [one["deployment"] for one in logged] == [str(broken.id)]
