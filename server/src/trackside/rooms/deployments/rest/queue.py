"""The build queue: how long it is, and what of one's own stands in it."""

from datetime import datetime
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor
from trackside.rooms.deployments.service.queue import Queued, read_queue


class QueuedShape(msgspec.Struct):
    """A deployment in the build queue; `place` counts from 1 and is null while it is built.

    `queued_at`: since when its service waits, in this deployment or in one that it superseded.
    """

    deployment_id: UUID
    service_instance_id: UUID
    project_name: str
    environment_name: str
    service_name: str
    priority: str
    place: int | None
    queued_at: datetime
    began_at: datetime | None


class QueueShape(msgspec.Struct):
    """`waiting` and `building` count the builds of all workspaces; `builds` are those of one's own, in their order."""

    waiting: int
    building: int
    builds: list[QueuedShape]


def _shape(queued: Queued) -> QueuedShape:
    instance = queued.instance
    return QueuedShape(
        deployment_id=queued.deployment_id,
        service_instance_id=instance.id,
        project_name=instance.project_name,
        environment_name=instance.environment_name,
        service_name=instance.service_name,
        priority=queued.priority.name.lower(),
        place=queued.place.place if queued.place else None,
        queued_at=queued.queued_at,
        began_at=queued.began_at,
    )


@get("/builds/queue")
async def read_build_queue(tx: NamedDependency[Transaction], actor: NamedDependency[Actor]) -> QueueShape:
    """What waits for a slot to be built in, and what has one."""
    view = await read_queue(tx, actor)
    return QueueShape(view.waiting, view.building, [_shape(queued) for queued in view.builds])


HANDLERS = (read_build_queue,)
