"""Clears away what was deleted: everything of it is sent away, then networks, names and records go."""

from collections.abc import Sequence
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.db import Database, Transaction
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments.converge.ending import remove_all
from trackside.rooms.deployments.model import ENDED
from trackside.rooms.deployments.ports import Runtime
from trackside.rooms.networking import service as networking
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletion


async def clear_away(database: Database, runtime: Runtime, deletion: Deletion) -> Sequence[UUID]:
    """One pass; the service instances that still have something running ([]: all is gone and forgotten)."""
    async with database.transaction(deletion.workspace_id) as tx:
        instances = [instance.id for instance in await projects.instances_to_delete(tx, deletion)]
        environments = await projects.environments_to_delete(tx, deletion)
        busy = [instance_id for instance_id in instances if await _send_away(tx, instance_id)]
    if busy:
        return busy
    for environment_id in environments:
        await runtime.remove_network(environment_id)
    async with database.transaction(deletion.workspace_id) as tx:
        for instance_id in instances:
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
