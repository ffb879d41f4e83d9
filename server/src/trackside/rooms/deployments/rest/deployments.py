"""One deployment: read it, its history, roll back to it, redeploy it, cancel it."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor
from trackside.rooms.deployments import service
from trackside.rooms.deployments.rest.instances import shape_deployment
from trackside.rooms.deployments.rest.shapes import DeploymentShape
from trackside.rooms.networking.model import Addressing


class EventShape(msgspec.Struct):
    id: UUID
    type: str
    at: datetime
    actor: dict[str, str]
    data: dict[str, Any]


class EventList(msgspec.Struct):
    events: list[EventShape]


@get("/deployments/{deployment_id:uuid}")
async def read_deployment(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    deployment_id: FromPath[UUID],
) -> DeploymentShape:
    """One deployment."""
    return await shape_deployment(tx, actor, public, await service.read_deployment(tx, actor, deployment_id))


@get("/deployments/{deployment_id:uuid}/events")
async def read_events(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], deployment_id: FromPath[UUID]
) -> EventList:
    """What happened to it, in order."""
    history = await service.history(tx, actor, deployment_id)
    return EventList([EventShape(r.id, r.type, r.at, dict(r.actor), msgspec.to_builtins(r.event)) for r in history])


@post("/deployments/{deployment_id:uuid}/rollback", status_code=202)
async def roll_back(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    addressing: NamedDependency[Addressing],
    public: NamedDependency[str],
    deployment_id: FromPath[UUID],
) -> DeploymentShape:
    """Make this deployment's image and variables serve again; nothing is built."""
    return await shape_deployment(tx, actor, public, await service.roll_back(tx, actor, addressing, deployment_id))


@post("/deployments/{deployment_id:uuid}/redeploy", status_code=202)
async def redeploy(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    addressing: NamedDependency[Addressing],
    public: NamedDependency[str],
    deployment_id: FromPath[UUID],
) -> DeploymentShape:
    """The same source again, with the newest config."""
    return await shape_deployment(tx, actor, public, await service.redeploy(tx, actor, addressing, deployment_id))


@post("/deployments/{deployment_id:uuid}/cancel", status_code=202)
async def cancel(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    deployment_id: FromPath[UUID],
) -> DeploymentShape:
    """End a deployment that is under way; what serves goes on serving."""
    return await shape_deployment(tx, actor, public, await service.cancel(tx, actor, deployment_id))


HANDLERS = (read_deployment, read_events, roll_back, redeploy, cancel)
