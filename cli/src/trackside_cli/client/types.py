"""The objects of REST `/v1` as they come: dictionaries, so `--json` passes on fields this version does not know."""

from typing import Any, TypedDict


class Workspace(TypedDict):
    id: str
    name: str


class Me(TypedDict):
    id: str
    kind: str
    name: str
    workspace: Workspace


class Step(TypedDict):
    name: str
    started_at: str | None
    completed_at: str | None
    error: str | None
    skipped: bool


class Commit(TypedDict):
    sha: str
    message: str
    author: str


class Deployment(TypedDict):
    id: str
    service_instance_id: str
    status: str
    reason: str | None
    hint: str | None
    url: str | None
    source: dict[str, Any]
    commit: Commit | None
    trigger: str
    replicas: list[dict[str, Any]]
    steps: list[Step]
    image_id: str | None
    rollback_of: str | None
    created_at: str
    updated_at: str
    ended_at: str | None


class Replicas(TypedDict):
    wanted: int
    healthy: int


class ServiceInstance(TypedDict):
    id: str
    service_id: str
    service_name: str
    environment_id: str
    environment_name: str
    project_id: str
    url: str | None
    host: str | None
    replicas: Replicas
    active_deployment: Deployment | None
    latest_deployment: Deployment | None


class Environment(TypedDict):
    id: str
    name: str
    service_instances: list[ServiceInstance]


class Service(TypedDict):
    id: str
    name: str


class Project(TypedDict):
    id: str
    name: str
    workspace_id: str
    created_at: str
    environments: list[Environment]
    services: list[Service]


class Upload(TypedDict):
    upload_id: str
    sha256: str
    size_bytes: int


class Variable(TypedDict):
    name: str
    value: str | None
    is_sealed: bool


class VariablesChanged(TypedDict):
    deployment: Deployment | None
    changed: list[str]


class LogLine(TypedDict):
    seq: int
    at: str
    level: str
    message: str
    replica_id: str | None
    attributes: dict[str, Any]
