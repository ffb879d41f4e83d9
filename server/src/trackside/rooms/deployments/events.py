"""Facts about deployments and their replicas."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from trackside.kit.events import Event


@dataclass(frozen=True)
class DeploymentRequested(Event):
    """A deployment was made from a version of the config; settings and secret versions are copied, never changed.

    `queued_at`: since when it counts as waiting for a build slot, with which `priority`; None where nothing is to be built.
    """

    deployment_id: UUID
    service_instance_id: UUID
    trigger: str
    source: dict[str, Any]
    config_version: int
    settings: dict[str, Any]
    build: dict[str, Any]
    variables: dict[str, str]
    replicas: int
    rollback_of: UUID | None
    image: dict[str, Any] | None
    commit: dict[str, str] | None
    priority: int = 0
    queued_at: datetime | None = None


@dataclass(frozen=True)
class DeploymentProgressed(Event):
    """It went on to the next status on its way."""

    deployment_id: UUID
    status: str


@dataclass(frozen=True)
class StepStarted(Event):
    deployment_id: UUID
    step: str


@dataclass(frozen=True)
class StepEnded(Event):
    deployment_id: UUID
    step: str
    error: str | None
    is_skipped: bool


@dataclass(frozen=True)
class SourceResolved(Event):
    """The source was fetched: this is what it was."""

    deployment_id: UUID
    commit: dict[str, str] | None


@dataclass(frozen=True)
class ImageReady(Event):
    deployment_id: UUID
    service_instance_id: UUID
    image: dict[str, Any]


@dataclass(frozen=True)
class PortFound(Event):
    deployment_id: UUID
    port: int


@dataclass(frozen=True)
class DeploymentSucceeded(Event):
    deployment_id: UUID


@dataclass(frozen=True)
class DeploymentFailed(Event):
    """It ended before it served. `code`: the stable code of the error that ended it; None where the app itself did."""

    deployment_id: UUID
    service_instance_id: UUID
    reason: str
    hint: str
    code: str | None = None


@dataclass(frozen=True)
class DeploymentCrashed(Event):
    deployment_id: UUID
    reason: str


@dataclass(frozen=True)
class DeploymentRecovered(Event):
    """A crashed deployment serves again."""

    deployment_id: UUID


@dataclass(frozen=True)
class DeploymentHeldUp(Event):
    """It goes on, and waits for something that is not there now: the engine, an address, a disk with room."""

    deployment_id: UUID
    reason: str
    hint: str
    code: str | None = None


@dataclass(frozen=True)
class DeploymentResumed(Event):
    """What it waited for is there."""

    deployment_id: UUID


@dataclass(frozen=True)
class DeploymentRemoving(Event):
    """It leaves service: replaced by another deployment (`by`), or taken down."""

    deployment_id: UUID
    service_instance_id: UUID
    reason: str
    by: UUID | None = None


@dataclass(frozen=True)
class DeploymentRemoved(Event):
    """It is gone, or it ended before it served (superseded `by` another, cancelled); `reason` says which."""

    deployment_id: UUID
    service_instance_id: UUID
    reason: str | None
    by: UUID | None = None


@dataclass(frozen=True)
class ReplicasWanted(Event):
    """The service instance was scaled while this deployment held it."""

    deployment_id: UUID
    service_instance_id: UUID
    replicas: int


@dataclass(frozen=True)
class ReplicaPlanned(Event):
    replica_id: UUID
    deployment_id: UUID
    role: str
    ordinal: int
    address: str


@dataclass(frozen=True)
class ReplicaChanged(Event):
    """What is seen of a replica changed."""

    replica_id: UUID
    deployment_id: UUID
    status: str
    detail: str


@dataclass(frozen=True)
class ReplicaRestarted(Event):
    """The platform restarted a replica itself (the engine's own restarts are seen, not told)."""

    replica_id: UUID
    deployment_id: UUID
    reason: str


@dataclass(frozen=True)
class ReplicaLeaving(Event):
    replica_id: UUID
    deployment_id: UUID


@dataclass(frozen=True)
class ReplicaTerminating(Event):
    """The stop signal was sent."""

    replica_id: UUID
    deployment_id: UUID
    at: datetime


@dataclass(frozen=True)
class ReplicaRemoved(Event):
    replica_id: UUID
    deployment_id: UUID


@dataclass(frozen=True)
class InstanceForgotten(Event):
    """The service instance was deleted: its deployments are no longer kept."""

    service_instance_id: UUID
