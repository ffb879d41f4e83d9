"""What is done to a service in an environment: deploy, upload, scale, restart, take down, variables."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from trackside.kit.db import Database, Transaction
from trackside.rooms.access.model import Actor
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.ports import Uploads
from trackside.rooms.deployments import service
from trackside.rooms.deployments.model import Deployment
from trackside.rooms.deployments.rest.shapes import (
    DeploymentShape,
    InstanceShape,
    RequestedShape,
    RestartedShape,
    deployment_shape,
    instance_shape,
)
from trackside.rooms.deployments.service import queue
from trackside.rooms.deployments.service.sources import accept_source
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects


class NewDeployment(msgspec.Struct, forbid_unknown_fields=True):
    """What to deploy (null: the configured source), and settings to keep with it (`build`, `deploy`).

    `urgent`: its build goes before all others of the workspace.
    """

    source: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    urgent: bool = False


class DeploymentList(msgspec.Struct):
    deployments: list[DeploymentShape]


class UploadShape(msgspec.Struct):
    upload_id: UUID
    sha256: str
    size_bytes: int


class Scale(msgspec.Struct, forbid_unknown_fields=True):
    replicas: int


class VariableShape(msgspec.Struct):
    name: str
    value: str | None


class VariableList(msgspec.Struct):
    variables: list[VariableShape]


class VariablePatch(msgspec.Struct, forbid_unknown_fields=True):
    """Variables to set (text) or delete (null)."""

    variables: dict[str, str | None]
    skip_deploy: bool = False


class VariablesChanged(msgspec.Struct):
    deployment: RequestedShape | None
    changed: list[str]


async def shape_instance(tx: Transaction, actor: Actor, public: str, instance_id: UUID) -> InstanceShape:
    """The service instance as REST tells it."""
    instance = await projects.read_instance(tx, actor, instance_id)
    view = (await service.view_instances(tx, actor, [instance]))[0]
    return instance_shape(view, public)


async def shape_deployment(tx: Transaction, actor: Actor, public: str, deployment: Deployment) -> DeploymentShape:
    """The deployment as REST tells it."""
    return (await shape_deployments(tx, actor, public, [deployment]))[0]


async def shape_requested(tx: Transaction, actor: Actor, public: str, deployment: Deployment) -> RequestedShape:
    """A deployment that was just asked for."""
    shape = await shape_deployment(tx, actor, public, deployment)
    return RequestedShape(**msgspec.structs.asdict(shape), superseded=list(deployment.superseded))


async def shape_deployments(
    tx: Transaction, actor: Actor, public: str, found: list[Deployment]
) -> list[DeploymentShape]:
    """Deployments of one service instance as REST tells them."""
    if not found:
        return []
    instance = await projects.read_instance(tx, actor, found[0].service_instance_id)
    host = (await service.view_instances(tx, actor, [instance]))[0].host
    replicas = await service.replicas_of(tx, [deployment.id for deployment in found])
    places = await queue.places_of(tx, found)
    url = public.format(host=host) if host else None
    return [deployment_shape(deployment, replicas, url, places.get(deployment.id)) for deployment in found]


@get("/service-instances/{instance_id:uuid}")
async def read_instance(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    instance_id: FromPath[UUID],
) -> InstanceShape:
    """One service in one environment."""
    return await shape_instance(tx, actor, public, instance_id)


@dataclass
class ArchiveOperation(Operation):
    """The body is an archive's bytes as they are."""

    def __post_init__(self) -> None:
        content = {"application/octet-stream": OpenAPIMediaType(schema=Schema(description="An archive."))}
        self.request_body = RequestBody(content=content, required=True)


@post(
    "/service-instances/{instance_id:uuid}/uploads",
    status_code=201,
    request_max_body_size=None,
    operation_class=ArchiveOperation,
)
async def upload(
    database: NamedDependency[Database],
    actor: NamedDependency[Actor],
    uploads: NamedDependency[Uploads],
    instance_id: FromPath[UUID],
    request: Request[Any, Any, Any],
) -> UploadShape:
    """Take an archive (tar, tar.gz, tar.zst or zip) as the raw body."""
    received = await builds.receive_upload(database, actor, uploads, instance_id, request.stream())
    return UploadShape(received.id, received.sha256, received.size_bytes)


@post("/service-instances/{instance_id:uuid}/deployments", status_code=202)
async def request_deployment(  # noqa: PLR0913 — injected
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    vault: NamedDependency[projects.Vault],
    addressing: NamedDependency[Addressing],
    public: NamedDependency[str],
    allow_engine_images: NamedDependency[bool],
    instance_id: FromPath[UUID],
    data: JSONBody[NewDeployment],
) -> RequestedShape:
    """Deploy; answers at once, with the deployment under way."""
    source = await accept_source(tx, vault, data.source, is_engine_open=allow_engine_images)
    deployment = await service.request_deployment(
        tx, actor, addressing, instance_id, service.Asked(source, data.settings, data.urgent)
    )
    return await shape_requested(tx, actor, public, deployment)


@get("/service-instances/{instance_id:uuid}/deployments")
async def list_deployments(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    instance_id: FromPath[UUID],
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 20,
) -> DeploymentList:
    """The deployments of a service instance, newest first."""
    found = await service.list_deployments(tx, actor, instance_id, limit)
    return DeploymentList(await shape_deployments(tx, actor, public, found))


@post("/service-instances/{instance_id:uuid}/scale", status_code=202)
async def scale(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    instance_id: FromPath[UUID],
    data: JSONBody[Scale],
) -> InstanceShape:
    """Want this many replicas."""
    await service.scale(tx, actor, instance_id, data.replicas)
    return await shape_instance(tx, actor, public, instance_id)


@post("/service-instances/{instance_id:uuid}/restart", status_code=202)
async def restart(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    addressing: NamedDependency[Addressing],
    public: NamedDependency[str],
    instance_id: FromPath[UUID],
) -> RestartedShape:
    """Replace all replicas by fresh ones of the same image; what is under way makes way for it."""
    made = await service.restart(tx, actor, addressing, instance_id)
    shape = await shape_instance(tx, actor, public, instance_id)
    return RestartedShape(**msgspec.structs.asdict(shape), superseded=list(made.superseded))


@post("/service-instances/{instance_id:uuid}/down", status_code=202)
async def take_down(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    instance_id: FromPath[UUID],
) -> InstanceShape:
    """Remove the active deployment; service and variables stay."""
    await service.take_down(tx, actor, instance_id)
    return await shape_instance(tx, actor, public, instance_id)


@get("/service-instances/{instance_id:uuid}/variables")
async def list_variables(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    vault: NamedDependency[projects.Vault],
    instance_id: FromPath[UUID],
    reveal: FromQuery[bool] = False,
) -> VariableList:
    """Names of variables; their values only with `reveal`, which is a permission of its own."""
    names = await projects.list_variables(tx, actor, instance_id)
    values = await projects.reveal_variables(tx, actor, vault, instance_id) if reveal else {}
    return VariableList([VariableShape(name, values.get(name)) for name in sorted(names)])


@patch("/service-instances/{instance_id:uuid}/variables", status_code=202)
async def change_variables(  # noqa: PLR0913 — injected
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    vault: NamedDependency[projects.Vault],
    addressing: NamedDependency[Addressing],
    public: NamedDependency[str],
    instance_id: FromPath[UUID],
    data: JSONBody[VariablePatch],
) -> VariablesChanged:
    """Set and delete variables as one version; what serves is deployed with them, unless `skip_deploy`."""
    changed = await projects.change_variables(tx, actor, vault, instance_id, data.variables)
    deployment = None
    if changed and not data.skip_deploy:
        deployment = await service.deploy_variables(tx, actor, addressing, instance_id, changed)
    shape = await shape_requested(tx, actor, public, deployment) if deployment else None
    return VariablesChanged(shape, list(changed))


HANDLERS = (
    read_instance,
    upload,
    request_deployment,
    list_deployments,
    scale,
    restart,
    take_down,
    list_variables,
    change_variables,
)
