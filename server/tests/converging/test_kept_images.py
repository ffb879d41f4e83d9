"""Images on the real database: those of the last five deployments that reached SUCCESS stay, and whatever runs or is shared."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy import text

from converging.world import ADDRESSING, EngineRoom
from trackside.rooms.deployments import service
from trackside.rooms.deployments.errors import NotRollable
from trackside.rooms.deployments.model import Deployment, Status
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletable


async def present(room: EngineRoom, deployments: Sequence[Deployment]) -> list[bool]:
    """Whether each one's image is on the engine."""
    found = [await room.images.inspect(one.image.image_id) for one in deployments if one.image]
    return [image is not None for image in found]


async def serve_versions(room: EngineRoom, instance_id: UUID, first: int, count: int) -> list[Deployment]:
    made: list[Deployment] = []
    for number in range(first, first + count):
        made.append(await room.serve(instance_id, f"app:{number}"))
        await room.collect(instance_id)
    return made


async def roll_back(room: EngineRoom, deployment: Deployment) -> Deployment:
    async with room.transaction() as tx:
        made = await service.roll_back(tx, room.platform.actor, ADDRESSING, deployment.id)
    await room.converge(made.service_instance_id)
    await room.collect(made.service_instance_id)
    return await room.read(made.id)


async def test_the_images_of_the_last_five_that_served_stay_and_can_be_gone_back_to(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await serve_versions(room, instance.id, 0, 7)
    assert await present(room, made) == [False, False, True, True, True, True, True]
    with pytest.raises(NotRollable):
        await roll_back(room, made[1])
    back = await roll_back(room, made[2])
    assert back.status is Status.SUCCESS
    assert back.image == made[2].image


async def test_a_version_that_fails_costs_none_of_the_five(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await serve_versions(room, instance.id, 0, 5)
    failed: list[Deployment] = []
    for number in range(3):
        bad = await room.deploy(instance.id, f"bad:{number}")
        await room.engine.prepare(room.platform.workspace_id, bad.id)
        async with room.transaction() as tx:
            await service.cancel(tx, room.platform.actor, bad.id)
        await room.converge(instance.id)
        failed.append(await room.read(bad.id))
    await room.collect(instance.id)
    assert await present(room, made) == [True] * 5
    assert await present(room, failed) == [False] * 3


async def test_an_image_that_was_gone_back_to_stays_as_long_as_what_serves_it(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await serve_versions(room, instance.id, 0, 5)
    back = await roll_back(room, made[0])
    later = await serve_versions(room, instance.id, 5, 4)
    assert await present(room, [made[0], *later]) == [True] * 5
    assert (await roll_back(room, back)).status is Status.SUCCESS
    await serve_versions(room, instance.id, 9, 5)
    assert await present(room, [made[0]]) == [False]


async def test_an_image_is_there_for_what_is_being_prepared_while_another_ends(room: EngineRoom) -> None:
    """It is held before it is on record; a clean-up between the two must not take it."""
    instance = await room.a_service()
    await room.serve(instance.id, "app:1")
    coming = await room.deploy(instance.id, "app:2")
    image = await room.images.pull("app:2", _unheard, f"{instance.id.hex}/{coming.id.hex}")
    await room.collect(instance.id)
    assert await room.images.inspect(image.id) is not None


async def test_an_image_that_another_service_uses_stays(room: EngineRoom) -> None:
    one = await room.a_service(project="one")
    other = await room.a_service(project="other")
    shared = await room.serve(one.id, "app:0")
    await room.serve(other.id, "app:0")
    await serve_versions(room, one.id, 1, 6)
    assert await present(room, [shared]) == [True]
    await serve_versions(room, other.id, 1, 6)
    assert await present(room, [shared]) == [False]


async def test_an_image_of_a_container_that_still_runs_goes_only_after_it(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await serve_versions(room, instance.id, 0, 2)
    assert made[1].image is not None
    await room.collect(instance.id)
    held = await room.images.kept()
    await room.images.release(list(held))
    assert await present(room, made) == [False, True]


async def test_the_images_of_a_service_that_is_deleted_go(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await serve_versions(room, instance.id, 0, 3)
    async with room.transaction() as tx:
        await projects.request_deletion(tx, room.platform.actor, Deletable.PROJECT, instance.project_id)
        deletion = (await projects.unfinished_deletions(tx))[0]
    while await forget_jobs(room) or not await room.engine.clear_away(deletion):
        await room.converge(instance.id)
    assert ("deployments.collect_images", str(instance.id)) in await jobs(room)
    await room.collect(instance.id)
    assert await present(room, made) == [False] * 3


async def forget_jobs(room: EngineRoom) -> None:
    """So that only those of the last pass are seen."""
    async with room.platform.owner.transaction() as tx:
        await tx.connection.execute(text("SET LOCAL search_path TO jobs"))
        await tx.connection.execute(text("DELETE FROM procrastinate_jobs"))


async def jobs(room: EngineRoom) -> list[tuple[str, str]]:
    """(job, service instance) of what waits to be done."""
    async with room.platform.owner.transaction() as tx:
        rows = await tx.connection.execute(
            text("SELECT task_name, args ->> 'instance_id' FROM jobs.procrastinate_jobs")
        )
        return [(row[0], row[1]) for row in rows]


async def _unheard(line: str) -> None:
    """A log that nobody reads."""
