"""Collects garbage on the engine that runs apps, and uploads: load what is seen and what is known, decide (see the plan), remove.

By a timer, so that a lost job costs time and never space for ever. Killed anywhere, the next pass goes on: nothing is written down.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.apart import apart
from trackside.kit.db import Database, Transaction
from trackside.kit.garbage import Freed
from trackside.kit.ids import parse_id
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.model import Upload
from trackside.rooms.builds.service import Builds
from trackside.rooms.deployments import store
from trackside.rooms.deployments.errors import RuntimeUnavailable
from trackside.rooms.deployments.plan.garbage import Garbage, OnEngine, OnRecord, garbage
from trackside.rooms.deployments.plan.images import ImageUse
from trackside.rooms.deployments.plan.uploads import to_drop
from trackside.rooms.deployments.ports import Runtime
from trackside.rooms.identity import service as identity
from trackside.rooms.networking import service as networking
from trackside.rooms.projects import service as projects


async def collect_garbage(
    database: Database, runtime: Runtime, rooms: Builds, kept: int, *, is_trial: bool
) -> list[Freed]:
    """One pass over everything; what went, or in a trial would go. Errors: `RuntimeUnavailable`, `ImageUnavailable`."""
    seen = OnEngine(await rooms.all_held(), await runtime.observe_all(), await runtime.networks())
    found = garbage(seen, await _on_record(database, seen.held.keys(), kept), kept)
    images = [seen.held[instance_id][one] for instance_id, gone in found.images.items() for one in gone]
    sizes = await rooms.sizes(images)
    networks = len(found.networks) if is_trial else await _remove(runtime, rooms, found)
    freed = [
        Freed("containers without a service", len(found.replicas)),
        Freed("networks without an environment", networks),
        Freed("images nobody can go back to", len(sizes), sum(sizes.values())),
        await rooms.collect_unnamed(is_trial=is_trial),
    ]
    return [one for one in freed if one.count]


async def collect_uploads(database: Database, rooms: Builds, kept: int, *, is_trial: bool) -> list[Freed]:
    """Remove the uploads that nobody needs any longer, and what killed processes left of others; in a trial only tell.

    The record goes first, so that nothing can be deployed of an archive that is about to go; one that is left behind on no
    record goes with a later pass.
    """
    async with database.transaction() as tx:
        workspaces = await identity.all_workspaces(tx)
    gone: list[Upload] = []
    for workspace in workspaces:
        with apart("the look for uploads nobody needs", workspace.id):
            async with database.transaction(workspace.id) as tx:
                dropped = await _strike_off(tx, kept, is_trial=is_trial)
            if not is_trial:
                await rooms.drop_uploads(workspace.id, [upload.id for upload in dropped])
            gone += dropped
    unneeded = Freed("uploads nobody needs", len(gone), sum(upload.size_bytes for upload in gone))
    return [one for one in (unneeded, *await rooms.collect_uploads(database, is_trial=is_trial)) if one.count]


async def _strike_off(tx: Transaction, kept: int, *, is_trial: bool) -> list[Upload]:
    """The uploads of the bound workspace that nobody needs any longer; on record no more, but in a trial."""
    if not is_trial:
        await stream.lock(tx)
    named = (parse_id(str(source.get("upload_id"))) for source in await projects.configured_sources(tx))
    configured = {upload_id for upload_id in named if upload_id}
    uploads, uses = await builds.all_uploads(tx), await store.upload_uses(tx)
    dropped = to_drop(uploads, uses, configured, kept, tx.clock.now())
    if not is_trial:
        await builds.strike_off(tx, dropped)
    return dropped


async def _on_record(database: Database, held: Iterable[UUID], kept: int) -> OnRecord:
    async with database.transaction() as tx:
        owners = await networking.owners(tx)
        environments = await networking.environments(tx)
    wanted = [instance_id for instance_id in held if instance_id in owners]
    uses: dict[UUID, Sequence[ImageUse]] = {}
    for workspace_id in {owners[instance_id] for instance_id in wanted}:
        with apart("the look for images nobody can go back to", workspace_id):
            async with database.transaction(workspace_id) as tx:
                uses |= await store.image_uses(tx, [one for one in wanted if owners[one] == workspace_id], kept)
    return OnRecord(frozenset(owners), environments, uses)


async def _remove(runtime: Runtime, rooms: Builds, found: Garbage) -> int:
    """The number of networks that went: one with containers on it goes with a later pass."""
    for replica_id in found.replicas:
        await runtime.remove(replica_id)
    removed = 0
    for environment_id in found.networks:
        try:
            await runtime.remove_network(environment_id)
        except RuntimeUnavailable:
            continue
        removed += 1
    for instance_id, deployments in found.images.items():
        await rooms.give_up(instance_id, deployments)
    return removed
