"""Values of the projects room."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

PRODUCTION = "production"


class Deletable(StrEnum):
    """What can be deleted; what it holds goes with it."""

    PROJECT = "project"
    ENVIRONMENT = "environment"
    SERVICE = "service"


@dataclass(frozen=True)
class Deletion:
    """A deletion that was asked for and is not finished: what still runs of it is stopped first."""

    workspace_id: UUID
    kind: Deletable
    subject_id: UUID


@dataclass(frozen=True)
class Project:
    id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True)
class Environment:
    id: UUID
    project_id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True)
class Service:
    id: UUID
    project_id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True)
class ServiceInstance:
    """A service in an environment; with the names and ids around it, for it is never used without them."""

    id: UUID
    service_id: UUID
    service_name: str
    environment_id: UUID
    environment_name: str
    project_id: UUID
    project_name: str


@dataclass(frozen=True)
class ConfigVersion:
    """A version of an environment's config. Version 0 is the empty one every environment begins with."""

    environment_id: UUID
    version: int
    config: dict[str, Any]


@dataclass(frozen=True)
class DeploySettings:
    """`deploy.*` of a service. Times in seconds; None = the platform's default."""

    start_command: str | None = None
    pre_deploy_command: str | None = None
    pre_deploy_timeout: float = 600.0
    replicas: int = 1
    healthcheck_path: str | None = None
    healthcheck_type: str = "AUTO"  # AUTO | HTTP | TCP | NONE
    healthcheck_timeout: float = 300.0
    start_period: float = 0.0
    restart_policy: str = "ON_FAILURE"
    max_restarts: int = 10
    overlap: float = 0.0
    draining: float = 10.0
    connection_drain: float = 30.0
    cpu: float | None = None
    memory_bytes: int | None = None
    port: int | None = None
    protocol: str = "http1"


@dataclass(frozen=True)
class ServiceSettings:
    """What the config says of one service, parsed: source and build settings stay as written, for the room that reads them."""

    source: Mapping[str, Any] | None
    build: Mapping[str, Any]
    deploy: DeploySettings
    variables: Mapping[str, UUID] = field(default_factory=dict[str, UUID])
