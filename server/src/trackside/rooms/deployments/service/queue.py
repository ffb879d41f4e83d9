"""The build queue as people see it: how long it is, and everything of theirs that is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor, Permission
from trackside.rooms.access.service import require
from trackside.rooms.deployments.converge import queueing
from trackside.rooms.deployments.model import Deployment, Place, Priority
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import ServiceInstance


@dataclass(frozen=True)
class Queued:
    """A deployment in the queue; `place` and `began_at`: one of the two."""

    deployment_id: UUID
    instance: ServiceInstance
    priority: Priority
    queued_at: datetime
    began_at: datetime | None
    place: Place | None


@dataclass(frozen=True)
class QueueView:
    """The queue: of all workspaces how many wait and are built, and of one's own which ones, in their order."""

    waiting: int
    building: int
    builds: tuple[Queued, ...]


async def places_of(tx: Transaction, deployments: Sequence[Deployment]) -> dict[UUID, Place]:
    """Where deployments that the caller may read stand in the build queue; those that don't wait there are left out."""
    return await queueing.places_of(tx, deployments)


async def read_queue(tx: Transaction, actor: Actor) -> QueueView:
    """The build queue as the actor may see it."""
    require(actor, Permission.DEPLOYMENT_READ, projects.scope(tx, "The build queue"))
    lines, entries = await queueing.read(tx)
    instances = await projects.instances_of(tx, [entry.service_instance_id for entry, _ in entries])
    return QueueView(
        waiting=sum(line.waiting for line in lines),
        building=sum(line.building for line in lines),
        builds=tuple(
            Queued(
                entry.deployment_id,
                instances[entry.service_instance_id],
                entry.priority,
                entry.queued_at,
                entry.began_at,
                place,
            )
            for entry, place in entries
        ),
    )
