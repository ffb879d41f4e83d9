"""What REST tells of projects, service instances and deployments."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from trackside.rooms.deployments.model import Deployment, Replica, Role, Status, StepName
from trackside.rooms.deployments.service import InstanceView, shown_replicas
from trackside.rooms.projects.model import Environment, Project, Service


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


class DeploymentShape(msgspec.Struct):
    """A deployment. It is over for who waits at SUCCESS, FAILED, CRASHED, SKIPPED or REMOVED."""

    id: UUID
    service_instance_id: UUID
    status: str
    reason: str | None
    hint: str | None
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


def deployment_shape(deployment: Deployment, replicas: list[Replica], url: str | None) -> DeploymentShape:
    """A deployment as REST tells it; `url` is its service instance's."""
    return DeploymentShape(
        id=deployment.id,
        service_instance_id=deployment.service_instance_id,
        status=str(deployment.status),
        reason=deployment.reason,
        hint=deployment.hint,
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
    latest = deployment_shape(view.latest, replicas, url) if view.latest else None
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
