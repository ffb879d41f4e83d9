"""Clears away what was deleted: everything of it is sent away, then networks, uploads, names and records go.

Killed anywhere, it begins again: it is over only with its last transaction. Logs go after that, by a job of their own (see
telemetry): some of their writers notice late.
"""

from collections.abc import Sequence
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit import failpoints
from trackside.kit.db import Database, Transaction
from trackside.rooms.builds import service as builds
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments.converge.ending import remove_all
from trackside.rooms.deployments.model import ENDED
from trackside.rooms.deployments.ports import Runtime
from trackside.rooms.networking import service as networking
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletion

NETWORKS_GO, UPLOADS_GO = "RemoveNetworks", "DropUploads"
failpoints.declare_around([NETWORKS_GO, UPLOADS_GO])


async def clear_away(database: Database, runtime: Runtime, rooms: builds.Builds, deletion: Deletion) -> Sequence[UUID]:
    """One pass; the service instances that still have something running ([]: all is gone and forgotten)."""
    async with database.transaction(deletion.workspace_id) as tx:
        instances = [instance.id for instance in await projects.instances_to_delete(tx, deletion)]
        environments = await projects.environments_to_delete(tx, deletion)
        busy = [instance_id for instance_id in instances if await _send_away(tx, instance_id)]
        uploads = await builds.uploads_of(tx, instances)
    if busy:
        return busy
    with failpoints.around(NETWORKS_GO):
        for environment_id in environments:
            await runtime.remove_network(environment_id)
    with failpoints.around(UPLOADS_GO):
        await rooms.drop_uploads(deletion.workspace_id, uploads)
    async with database.transaction(deletion.workspace_id) as tx:
        for instance_id in instances:
            await builds.forget_uploads(tx, instance_id)
            await networking.forget_instance(tx, instance_id)
            await stream.record(tx, events.InstanceForgotten(instance_id))
        for environment_id in environments:
            await networking.release_subnet(tx, environment_id)
        if deletion in await projects.unfinished_deletions(tx):
            await projects.finish_deletion(tx, deletion)
    return []


async def _send_away(tx: Transaction, instance_id: UUID) -> bool:
    """Want nothing of the service instance; whether something of it is left."""
    await remove_all(tx, instance_id, "Deleted.")
    unsettled = await store.unsettled(tx, instance_id)
    if any(deployment.status not in ENDED for deployment in unsettled):
        return True
    return bool(await store.replicas_of(tx, [d.id for d in unsettled])) or bool(
        await networking.backends_of(tx, instance_id)
    )
