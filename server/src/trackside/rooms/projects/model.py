"""Values of the projects room."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

PRODUCTION = "production"
SOURCE_SECRETS = {"token": "token_secret", "private_key": "key_secret"}
"""What people give with a git source → the key under which the config names the version that was kept of it."""


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


class SettingKind(StrEnum):
    """What a setting's value may be."""

    TEXT = "text"
    PATH = "path"
    COMMAND = "text or list of texts"
    CHOICE = "choice"
    NUMBER = "number"
    WHOLE = "whole number"
    TEXTS = "object of texts"


@dataclass(frozen=True)
class Setting:
    """A setting of a service: what it means, what it may be, and what holds where the config says nothing."""

    kind: SettingKind
    meaning: str
    default: Any = None
    least: float = 0
    most: float = 0
    choices: tuple[str, ...] = ()


SETTINGS: dict[str, Setting] = {
    "deploy.startCommand": Setting(SettingKind.TEXT, "Command to start the app with, in place of the image's own."),
    "deploy.preDeployCommand": Setting(
        SettingKind.COMMAND, "Command run once in the new image before any replica starts (a list is joined by `&&`)."
    ),
    "deploy.preDeployTimeoutSeconds": Setting(
        SettingKind.NUMBER, "How long the pre-deploy command may take.", 600, 1, 86400
    ),
    "deploy.numReplicas": Setting(SettingKind.WHOLE, "How many replicas run.", 1, 1, 100),
    "deploy.healthcheckPath": Setting(SettingKind.TEXT, "Path that must answer with status 200; begins with `/`."),
    "deploy.healthcheckType": Setting(
        SettingKind.CHOICE,
        "`AUTO`: HTTP where a path is set, else TCP; `NONE`: a replica is well once it runs and, where it is expected to, listens.",
        "AUTO",
        choices=("AUTO", "HTTP", "TCP", "NONE"),
    ),
    "deploy.healthcheckTimeout": Setting(
        SettingKind.NUMBER, "Seconds a new replica has to become healthy.", 300, 1, 3600
    ),
    "deploy.startPeriodSeconds": Setting(
        SettingKind.NUMBER, "Seconds added to that for apps that start slowly.", 0, 0, 3600
    ),
    "deploy.restartPolicyType": Setting(
        SettingKind.CHOICE,
        "When a replica that exited is started again.",
        "ON_FAILURE",
        choices=("ON_FAILURE", "ALWAYS", "NEVER"),
    ),
    "deploy.restartPolicyMaxRetries": Setting(
        SettingKind.WHOLE,
        "How often, before the deployment is `CRASHED`; an app that was well for ten minutes has another try.",
        10,
        0,
        1000,
    ),
    "deploy.overlapSeconds": Setting(
        SettingKind.NUMBER, "How long the old version stays up after the swap, at least.", 0, 0, 3600
    ),
    "deploy.drainingSeconds": Setting(SettingKind.NUMBER, "Seconds from SIGTERM to SIGKILL.", 10, 0, 3600),
    "deploy.connectionDrainSeconds": Setting(
        SettingKind.NUMBER, "Seconds that open requests on the old version may take to finish.", 30, 0, 3600
    ),
    "deploy.limitOverride.containers.cpu": Setting(
        SettingKind.NUMBER, "CPU cores of one replica; else `TRACKSIDE_APP_CPU`.", None, 0.01, 1024
    ),
    "deploy.limitOverride.containers.memoryBytes": Setting(
        SettingKind.WHOLE,
        "Memory of one replica, in bytes; else `TRACKSIDE_APP_MEMORY_BYTES`.",
        None,
        4 << 20,
        1 << 46,
    ),
    "deploy.port": Setting(
        SettingKind.WHOLE,
        "The port the app listens on; else the image's EXPOSE, else 8080 (its PORT); after 2 s any other it opened.",
        None,
        1,
        65535,
    ),
    "deploy.applicationProtocol": Setting(
        SettingKind.CHOICE, "What the edge speaks to the app; gRPC needs `h2c`.", "http1", choices=("http1", "h2c")
    ),
    "build.builder": Setting(
        SettingKind.CHOICE,
        "`AUTO`: a Dockerfile where there is one, else zero-config; `NIXPACKS`, as older configs have it, means the same.",
        "AUTO",
        choices=("AUTO", "DOCKERFILE", "RAILPACK", "NIXPACKS"),
    ),
    "build.dockerfilePath": Setting(SettingKind.PATH, "Where the Dockerfile is, relative to the built directory."),
    "build.dockerfileTarget": Setting(SettingKind.TEXT, "The stage of the Dockerfile to build."),
    "build.buildArguments": Setting(SettingKind.TEXTS, "Build arguments of the Dockerfile."),
    "build.buildCommand": Setting(SettingKind.TEXT, "Command that builds the app, in place of the recognised one."),
}
"""The settings of a service, by their key in its part of the config. Keys that are not here are kept and ignored."""


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
