"""Facts about what is wanted."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from trackside.kit.events import Event


@dataclass(frozen=True)
class ProjectCreated(Event):
    project_id: UUID
    name: str


@dataclass(frozen=True)
class EnvironmentCreated(Event):
    environment_id: UUID
    project_id: UUID
    name: str


@dataclass(frozen=True)
class ServiceCreated(Event):
    service_id: UUID
    project_id: UUID
    name: str


@dataclass(frozen=True)
class ServiceInstanceCreated(Event):
    service_instance_id: UUID
    service_id: UUID
    environment_id: UUID


@dataclass(frozen=True)
class DeletionRequested(Event):
    """A project, environment or service is to go; it is no longer shown, and its name is free."""

    subject_id: UUID
    kind: str


@dataclass(frozen=True)
class DeletionFinished(Event):
    """Nothing of it runs any more, and it is forgotten."""

    subject_id: UUID
    kind: str


@dataclass(frozen=True)
class EnvironmentConfigCommitted(Event):
    """A patch became a version. The patch holds secret version ids, never values."""

    environment_id: UUID
    config_version: int
    patch: dict[str, Any]
    message: str
