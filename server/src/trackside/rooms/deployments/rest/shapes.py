"""What REST tells of projects, service instances and deployments."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from trackside.rooms.deployments.model import Deployment, Explanation, Moment, Place, Replica, Role, Status, StepName
from trackside.rooms.deployments.service import InstanceView, shown_replicas
from trackside.rooms.projects.model import Environment, Project, Service, ServiceInstance


class StepShape(msgspec.Struct):
    name: str
    started_at: datetime
    completed_at: datetime | None
    error: str | None
    skipped: bool


class ReplicaShape(msgspec.Struct):
    id: UUID
    ordinal: int
    status: str
    detail: str
    address: str


class PlaceShape(msgspec.Struct):
    """A place in the build queue, counted from 1, among all that are `waiting`; so many are `building`."""

    place: int
    waiting: int
    building: int


class DeploymentShape(msgspec.Struct):
    """A deployment. It is over for who waits at SUCCESS, FAILED, CRASHED, SKIPPED or REMOVED.

    `code` is the stable code of the error that `reason` tells of, where it was one of the platform's. `queue` is its place while it
    waits for a slot to be built in.
    """

    id: UUID
    service_instance_id: UUID
    status: str
    reason: str | None
    hint: str | None
    code: str | None
    url: str | None
    source: dict[str, Any]
    commit: dict[str, str] | None
    trigger: str
    replicas: list[ReplicaShape]
    steps: list[StepShape]
    image_id: str | None
    rollback_of: UUID | None
    config_version: int
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    queue: PlaceShape | None


class RequestedShape(DeploymentShape):
    """A deployment that was just asked for. `superseded`: those under way that made way for it."""

    superseded: list[UUID]


class Replicas(msgspec.Struct):
    wanted: int
    healthy: int


class InstanceShape(msgspec.Struct):
    id: UUID
    service_id: UUID
    service_name: str
    environment_id: UUID
    environment_name: str
    project_id: UUID
    url: str | None
    host: str | None
    replicas: Replicas
    active_deployment: DeploymentShape | None
    latest_deployment: DeploymentShape | None


class RestartedShape(InstanceShape):
    """A service instance that restarts. `superseded`: the deployments under way that made way for the restart."""

    superseded: list[UUID]


class ExplanationShape(msgspec.Struct):
    """Why a deployment is as it is. `happened` is in the order of its times."""

    deployment_id: UUID
    project_name: str
    environment_name: str
    service_name: str
    status: str
    sentence: str
    hint: str | None
    code: str | None
    waits_for: str | None
    happened: list[Moment]


class EnvironmentShape(msgspec.Struct):
    id: UUID
    name: str
    service_instances: list[InstanceShape]


class ServiceShape(msgspec.Struct):
    id: UUID
    name: str


class ProjectShape(msgspec.Struct):
    id: UUID
    name: str
    workspace_id: UUID
    created_at: datetime
    environments: list[EnvironmentShape]
    services: list[ServiceShape]


SECRETS = frozenset({"token_secret", "key_secret"})


def place_shape(place: Place | None) -> PlaceShape | None:
    """A place in the build queue as REST tells it."""
    return PlaceShape(place.place, place.waiting, place.building) if place else None


def deployment_shape(
    deployment: Deployment, replicas: list[Replica], url: str | None, place: Place | None = None
) -> DeploymentShape:
    """A deployment as REST tells it; `url` is its service instance's."""
    return DeploymentShape(
        id=deployment.id,
        service_instance_id=deployment.service_instance_id,
        status=str(deployment.status),
        reason=deployment.reason,
        hint=deployment.hint,
        code=deployment.code,
        url=url if listens(deployment) else None,
        source={key: value for key, value in deployment.source.items() if key not in SECRETS},
        commit=dict(deployment.commit) if deployment.commit else None,
        trigger=str(deployment.trigger),
        replicas=[
            ReplicaShape(r.id, r.ordinal, str(r.status), r.detail, str(r.address))
            for r in replicas
            if r.deployment_id == deployment.id and r.role is Role.REPLICA
        ],
        steps=[StepShape(str(s.name), s.started_at, s.completed_at, s.error, s.is_skipped) for s in deployment.steps],
        image_id=deployment.image.image_id if deployment.image else None,
        rollback_of=deployment.rollback_of,
        config_version=deployment.config_version,
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
        ended_at=deployment.ended_at,
        queue=place_shape(place),
    )


def explanation_shape(explanation: Explanation, instance: ServiceInstance) -> ExplanationShape:
    """An explanation with the names of where it happened."""
    return ExplanationShape(
        deployment_id=explanation.deployment_id,
        project_name=instance.project_name,
        environment_name=instance.environment_name,
        service_name=instance.service_name,
        status=explanation.status,
        sentence=explanation.sentence,
        hint=explanation.hint,
        code=explanation.code,
        waits_for=explanation.waits_for,
        happened=list(explanation.happened),
    )


def listens(deployment: Deployment) -> bool:
    """Whether requests can reach it: not where it was found to listen nowhere."""
    network = deployment.step(StepName.CONFIGURE_NETWORK)
    is_portless = deployment.image is not None and deployment.image.expects_port is False
    return not (network and network.is_skipped) and not (is_portless and deployment.settings.port is None)


def instance_shape(view: InstanceView, public: str) -> InstanceShape:
    """A service instance; `public` is the edge's address with `{host}` for the host name."""
    instance = view.instance
    url = public.format(host=view.host) if view.host else None
    replicas = list(view.replicas)
    active = deployment_shape(view.active, replicas, url) if view.active else None
    latest = deployment_shape(view.latest, replicas, url, view.place) if view.latest else None
    shown = active or latest
    return InstanceShape(
        id=instance.id,
        service_id=instance.service_id,
        service_name=instance.service_name,
        environment_id=instance.environment_id,
        environment_name=instance.environment_name,
        project_id=instance.project_id,
        url=shown.url if shown and shown.status != Status.REMOVED else None,
        host=view.host,
        replicas=Replicas(*shown_replicas(view)),
        active_deployment=active,
        latest_deployment=latest,
    )


def project_shape(
    project: Project,
    workspace_id: UUID,
    environments: list[Environment],
    services: list[Service],
    instances: list[InstanceShape],
) -> ProjectShape:
    """A project with everything in it."""
    return ProjectShape(
        id=project.id,
        name=project.name,
        workspace_id=workspace_id,
        created_at=project.created_at,
        environments=[
            EnvironmentShape(e.id, e.name, [i for i in instances if i.environment_id == e.id]) for e in environments
        ],
        services=[ServiceShape(s.id, s.name) for s in services],
    )
