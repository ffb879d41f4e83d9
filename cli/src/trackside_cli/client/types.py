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


class Place(TypedDict):
    place: int
    waiting: int
    building: int


class Queued(TypedDict):
    deployment_id: str
    service_instance_id: str
    project_name: str
    environment_name: str
    service_name: str
    priority: str
    place: int | None
    queued_at: str
    began_at: str | None


class BuildQueue(TypedDict):
    waiting: int
    building: int
    builds: list[Queued]


class Deployment(TypedDict):
    id: str
    service_instance_id: str
    status: str
    reason: str | None
    hint: str | None
    code: str | None
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
    queue: Place | None


class Moment(TypedDict):
    at: str
    sentence: str
    phase: str | None
    seconds: float | None
    is_over: bool


class Explanation(TypedDict):
    deployment_id: str
    project_name: str
    environment_name: str
    service_name: str
    status: str
    sentence: str
    hint: str | None
    code: str | None
    waits_for: str | None
    happened: list[Moment]


class Event(TypedDict):
    seq: int
    id: str
    type: str
    at: str
    actor: dict[str, str]
    sentence: str
    place: dict[str, str | None]
    data: dict[str, Any]


class EventPage(TypedDict):
    events: list[Event]
    cursor: int


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


class VariablesChanged(TypedDict):
    deployment: Deployment | None
    changed: list[str]


class ConfigVersion(TypedDict):
    version: int
    config: dict[str, Any]


class LogLine(TypedDict):
    seq: int
    at: str
    level: str
    message: str
    replica_id: str | None
    attributes: dict[str, Any]
