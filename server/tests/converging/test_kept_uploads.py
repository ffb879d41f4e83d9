"""Uploads on the real database and a real folder: what may be built again stays, the rest goes, and its redeploy says so."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from converging.world import ADDRESSING, QUICK, EngineRoom
from trackside.kit.garbage import Freed
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.errors import UploadGone
from trackside.rooms.deployments import service
from trackside.rooms.deployments.model import Deployment, Status
from trackside.rooms.projects import service as projects

ARCHIVE = b"archive"


async def upload(room: EngineRoom, instance_id: UUID) -> UUID:
    async def chunks() -> AsyncIterator[bytes]:
        yield ARCHIVE

    received = await builds.receive_upload(
        room.platform.database, room.platform.actor, room.uploads, instance_id, chunks()
    )
    return received.id


async def deploy(room: EngineRoom, instance_id: UUID, upload_id: UUID | None) -> Deployment:
    """None: the configured source."""
    source = {"kind": "upload", "upload_id": str(upload_id).upper()} if upload_id else None
    async with room.transaction() as tx:
        return await service.request_deployment(
            tx, room.platform.actor, ADDRESSING, instance_id, service.Asked(source, QUICK)
        )


async def fail(room: EngineRoom, deployment: Deployment) -> Deployment:
    """The archive is none: its deployment ends where it is unpacked."""
    await room.run_jobs(deployment)
    return await room.read(deployment.id)


async def redeploy(room: EngineRoom, deployment: Deployment) -> Deployment:
    async with room.transaction() as tx:
        return await service.redeploy(tx, room.platform.actor, ADDRESSING, deployment.id)


async def kept(room: EngineRoom) -> set[UUID]:
    """On record; each of them, and no other, is in the folder too."""
    async with room.transaction() as tx:
        on_record = {one.id for one in await builds.all_uploads(tx)}
    assert {one for _, one in await room.uploads.kept(0)} == on_record
    return on_record


async def test_the_uploads_of_the_newest_five_deployments_stay_and_the_others_go_at_once(room: EngineRoom) -> None:
    instance = await room.a_service()
    uploads = [await upload(room, instance.id) for _ in range(8)]
    made = [await fail(room, await deploy(room, instance.id, one)) for one in uploads]
    assert {one.status for one in made} == {Status.FAILED}
    waiting = await upload(room, instance.id)
    told = [Freed("uploads nobody needs", 3, 3 * len(ARCHIVE))]
    assert await room.engine.collect_uploads(is_trial=True) == told
    assert await kept(room) == {*uploads, waiting}, "a trial removed something"
    assert await room.engine.collect_uploads() == told
    assert await kept(room) == {*uploads[3:], waiting}
    assert await room.engine.collect_uploads() == []
    assert (await redeploy(room, made[3])).status is Status.QUEUED


async def test_a_redeploy_of_what_is_no_longer_kept_is_refused_and_nothing_is_changed(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = [await fail(room, await deploy(room, instance.id, await upload(room, instance.id))) for _ in range(6)]
    await room.engine.collect_uploads()
    with pytest.raises(UploadGone) as caught:
        await redeploy(room, made[0])
    assert (caught.value.code, "trackside up" in caught.value.hint) == ("builds.upload_gone", True)
    async with room.transaction() as tx:
        assert len(await service.list_deployments(tx, room.platform.actor, instance.id, 50)) == 6


async def test_what_waits_for_its_build_and_what_is_configured_stays_behind_any_number_of_others(
    room: EngineRoom,
) -> None:
    instance, other = await room.a_service(), await room.a_service("api", "other")
    configured, waiting = await upload(room, instance.id), await upload(room, other.id)
    await fail(room, await deploy(room, instance.id, configured))
    served = await room.serve(instance.id, "app:1")
    for _ in range(6):
        await restart(room, instance.id)
    await patch_source(room, instance.id, configured)
    queued = await deploy(room, other.id, waiting)
    assert await room.engine.collect_uploads() == []
    assert await kept(room) == {configured, waiting}
    assert (queued.status, served.status) == (Status.QUEUED, Status.SUCCESS)
    assert (await deploy(room, instance.id, None)).source["upload_id"] == str(configured)


async def restart(room: EngineRoom, instance_id: UUID) -> None:
    async with room.transaction() as tx:
        made = await service.restart(tx, room.platform.actor, ADDRESSING, instance_id)
    await room.run_jobs(made)


async def patch_source(room: EngineRoom, instance_id: UUID, upload_id: UUID) -> None:
    """A source that was configured by hand, and not deployed yet."""
    async with room.transaction() as tx:
        instance = await projects.read_instance(tx, room.platform.actor, instance_id)
        source = {"kind": "upload", "upload_id": str(upload_id), "reference": None}
        patch = {"services": {str(instance.service_id): {"source": source}}}
        await projects.edit_config(tx, room.platform.actor, instance.environment_id, patch)
