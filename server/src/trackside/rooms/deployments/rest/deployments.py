"""One deployment: read it, its history, what explains it, roll back to it, redeploy it, cancel it."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor
from trackside.rooms.deployments import service
from trackside.rooms.deployments.rest.instances import shape_deployment, shape_requested
from trackside.rooms.deployments.rest.shapes import (
    DeploymentShape,
    ExplanationShape,
    RequestedShape,
    explanation_shape,
)
from trackside.rooms.deployments.service import explaining
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects


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


@get("/deployments/{deployment_id:uuid}/explanation")
async def explain_deployment(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], deployment_id: FromPath[UUID]
) -> ExplanationShape:
    """What happened to it, why it is as it is, and what it waits for; from its events."""
    explanation = await explaining.explain_deployment(tx, actor, deployment_id)
    deployment = await service.read_deployment(tx, actor, deployment_id)
    return explanation_shape(explanation, await projects.read_instance(tx, actor, deployment.service_instance_id))


@post("/deployments/{deployment_id:uuid}/rollback", status_code=202)
async def roll_back(  # noqa: PLR0913 — each is a part that the framework hands in
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    addressing: NamedDependency[Addressing],
    public: NamedDependency[str],
    kept_images: NamedDependency[int],
    deployment_id: FromPath[UUID],
) -> RequestedShape:
    """Make this deployment's image and variables serve again; nothing is built."""
    made = await service.roll_back(tx, actor, addressing, deployment_id, keep=kept_images)
    return await shape_requested(tx, actor, public, made)


@post("/deployments/{deployment_id:uuid}/redeploy", status_code=202)
async def redeploy(  # noqa: PLR0913 — injected
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    addressing: NamedDependency[Addressing],
    public: NamedDependency[str],
    deployment_id: FromPath[UUID],
    urgent: FromQuery[bool] = False,
) -> RequestedShape:
    """The same source again, with the newest config; with `urgent`, built before all others of the workspace."""
    made = await service.redeploy(tx, actor, addressing, deployment_id, is_urgent=urgent)
    return await shape_requested(tx, actor, public, made)


@post("/deployments/{deployment_id:uuid}/cancel", status_code=202)
async def cancel(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    deployment_id: FromPath[UUID],
) -> DeploymentShape:
    """End a deployment that is under way; what serves goes on serving."""
    return await shape_deployment(tx, actor, public, await service.cancel(tx, actor, deployment_id))


HANDLERS = (read_deployment, read_events, explain_deployment, roll_back, redeploy, cancel)
