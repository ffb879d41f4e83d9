"""Values of the deployments room: statuses, steps, replicas, workloads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID


class Status(StrEnum):
    """Railway's deployment statuses."""

    INITIALIZING = "INITIALIZING"
    QUEUED = "QUEUED"
    WAITING = "WAITING"
    NEEDS_APPROVAL = "NEEDS_APPROVAL"
    BUILDING = "BUILDING"
    DEPLOYING = "DEPLOYING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    SLEEPING = "SLEEPING"
    SKIPPED = "SKIPPED"
    REMOVING = "REMOVING"
    REMOVED = "REMOVED"


class StepName(StrEnum):
    """Railway's deployment steps, in their order."""

    SNAPSHOT_CODE = "SNAPSHOT_CODE"
    BUILD_IMAGE = "BUILD_IMAGE"
    PUBLISH_IMAGE = "PUBLISH_IMAGE"
    WAIT_FOR_DEPENDENCIES = "WAIT_FOR_DEPENDENCIES"
    PRE_DEPLOY_COMMAND = "PRE_DEPLOY_COMMAND"
    MIGRATE_VOLUMES = "MIGRATE_VOLUMES"
    CREATE_CONTAINER = "CREATE_CONTAINER"
    CONFIGURE_NETWORK = "CONFIGURE_NETWORK"
    HEALTHCHECK = "HEALTHCHECK"
    DRAIN_INSTANCES = "DRAIN_INSTANCES"


class RestartPolicy(StrEnum):
    ON_FAILURE = "ON_FAILURE"
    ALWAYS = "ALWAYS"
    NEVER = "NEVER"


class Role(StrEnum):
    """What a container of a deployment is for."""

    REPLICA = "replica"
    PRE_DEPLOY = "pre-deploy"


@dataclass(frozen=True)
class Network:
    """An environment's private network. The first address is the gateway, where our resolver answers."""

    environment_id: UUID
    subnet: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        return self.subnet[1]


@dataclass(frozen=True)
class Limits:
    """What a container may use. CPU in cores, memory in bytes."""

    cpu: float = 2.0
    memory_bytes: int = 1 << 30
    pids: int = 1024
    shm_bytes: int = 64 << 20
    log_bytes: int = 50 << 20


@dataclass(frozen=True)
class Workload:
    """One container, complete and engine-neutral: what `Runtime.start` makes true."""

    workspace_id: UUID
    project_id: UUID
    environment_id: UUID
    service_id: UUID
    service_instance_id: UUID
    deployment_id: UUID
    replica_id: UUID
    role: Role
    image_id: str
    argv: tuple[str, ...] | None  # None = what the image says
    is_entrypoint_replaced: (
        bool  # True: argv is the whole command; False: argv are arguments of the image's entry point
    )
    user: str | None  # None = what the image says
    variables: Mapping[str, str] = field(repr=False)
    network: Network
    address: IPv4Address
    restart: RestartPolicy
    max_restarts: int
    limits: Limits
    capabilities: tuple[str, ...]


class SeenState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    RESTARTING = "restarting"  # between two starts, by the engine's restart policy
    EXITED = "exited"


@dataclass(frozen=True)
class SeenReplica:
    """What the engine really has. `exit_code` of the last exit, None before any; `restarts` counts the engine's restarts."""

    replica_id: UUID
    deployment_id: UUID
    service_instance_id: UUID
    workspace_id: UUID
    role: Role
    state: SeenState
    address: IPv4Address | None
    exit_code: int | None
    is_out_of_memory: bool
    restarts: int
    started_at: datetime | None
    listening: tuple[int, ...] = ()  # TCP ports that listen on other than loopback, ascending; () where unknown
    listening_loopback: tuple[int, ...] = ()
    ended_at: datetime | None = None  # None while it runs, and where the engine does not say
    is_cut_off: bool = False  # it ended because the machine went down


class Trigger(StrEnum):
    """Why a deployment was made."""

    DEPLOY = "deploy"
    REDEPLOY = "redeploy"
    ROLLBACK = "rollback"
    RESTART = "restart"
    VARIABLES = "variables"


class Priority(IntEnum):
    """What goes first among the builds of one workspace; it never goes before another workspace's turn."""

    NORMAL = 0
    PRODUCTION = 1
    URGENT = 2


@dataclass(frozen=True)
class Place:
    """Where a deployment stands in the build queue: `place` counts from 1, among `waiting`; so many are `building`."""

    place: int
    waiting: int
    building: int


class ReplicaStatus(StrEnum):
    """Railway's replica statuses."""

    CREATED = "CREATED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    RESTARTING = "RESTARTING"
    EXITED = "EXITED"
    CRASHED = "CRASHED"
    STOPPED = "STOPPED"
    REMOVING = "REMOVING"
    REMOVED = "REMOVED"


PREPARING = frozenset({Status.INITIALIZING, Status.QUEUED, Status.WAITING, Status.NEEDS_APPROVAL, Status.BUILDING})
"""No image yet."""
UNFINISHED = PREPARING | {Status.DEPLOYING}
"""A waiting client goes on waiting."""
ACTIVE = frozenset({Status.SUCCESS, Status.CRASHED, Status.SLEEPING})
"""Reached service; holds the service until it is replaced or removed."""
ENDED = frozenset({Status.FAILED, Status.REMOVED, Status.SKIPPED})
"""Nothing of it runs, but for what is still to be cleared away."""

KEPT_IMAGES = 5
"""Images kept per service instance, of the last deployments that reached SUCCESS."""

KEPT_UPLOADS = 5
"""Deployments per service instance, the newest ones, whose uploads are kept so that they can be deployed again."""

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.INITIALIZING: frozenset(
        {Status.QUEUED, Status.WAITING, Status.NEEDS_APPROVAL, Status.BUILDING, Status.DEPLOYING, Status.FAILED}
        | {Status.REMOVED, Status.SKIPPED}
    ),
    Status.QUEUED: frozenset({Status.BUILDING, Status.DEPLOYING, Status.FAILED, Status.REMOVED}),
    Status.WAITING: frozenset({Status.QUEUED, Status.SKIPPED, Status.FAILED, Status.REMOVED}),
    Status.NEEDS_APPROVAL: frozenset({Status.QUEUED, Status.SKIPPED, Status.REMOVED}),
    Status.BUILDING: frozenset({Status.DEPLOYING, Status.FAILED, Status.REMOVED}),
    Status.DEPLOYING: frozenset({Status.SUCCESS, Status.FAILED, Status.CRASHED, Status.REMOVING, Status.REMOVED}),
    Status.SUCCESS: frozenset({Status.CRASHED, Status.SLEEPING, Status.REMOVING}),
    Status.CRASHED: frozenset({Status.SUCCESS, Status.REMOVING}),
    Status.SLEEPING: frozenset({Status.SUCCESS, Status.REMOVING}),
    Status.REMOVING: frozenset({Status.REMOVED}),
    Status.FAILED: frozenset(),
    Status.REMOVED: frozenset(),
    Status.SKIPPED: frozenset(),
}


@dataclass(frozen=True)
class Step:
    """A step of a deployment as it went."""

    name: StepName
    started_at: datetime
    completed_at: datetime | None = None
    error: str | None = None
    is_skipped: bool = False


@dataclass(frozen=True)
class ImageFacts:
    """What a deployment knows of its image. `expects_port` None: the image does not say."""

    image_id: str
    digest: str | None = None
    exposed_ports: tuple[int, ...] = ()
    pre_deploy_command: str | None = None
    expects_port: bool | None = None
    build_variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """The part of the config a deployment was made with. Times in seconds."""

    start_command: str | None = None
    pre_deploy_command: str | None = None
    pre_deploy_timeout: float = 600.0
    healthcheck_path: str | None = None
    healthcheck_type: str = "AUTO"
    healthcheck_timeout: float = 300.0
    start_period: float = 0.0
    restart_policy: RestartPolicy = RestartPolicy.ON_FAILURE
    max_restarts: int = 10
    overlap: float = 0.0
    draining: float = 10.0
    connection_drain: float = 30.0
    cpu: float | None = None
    memory_bytes: int | None = None
    port: int | None = None
    protocol: str = "http1"


@dataclass(frozen=True)
class Deployment:
    """One immutable attempt, and how it goes. `version` is the number of the last event about it.

    `reason` and `hint` say why it ended as it did, or, while it goes on, what it waits for; `code` is the stable code of that
    error, where it was one of the platform's. `superseded`: those under way that it
    was asked for in place of; known to who asked for it, and kept in the events only.
    """

    id: UUID
    service_instance_id: UUID
    status: Status
    reason: str | None
    hint: str | None
    code: str | None
    trigger: Trigger
    source: Mapping[str, object]
    commit: Mapping[str, str] | None
    config_version: int
    settings: Settings
    build: Mapping[str, object]
    variables: Mapping[str, UUID]
    image: ImageFacts | None
    port: int | None
    wanted_replicas: int
    rollback_of: UUID | None
    steps: tuple[Step, ...]
    created_at: datetime
    updated_at: datetime
    removing_at: datetime | None
    ended_at: datetime | None
    version: int
    superseded: tuple[UUID, ...] = ()

    @property
    def is_held_up(self) -> bool:
        """Whether it has its image, goes on, and waits for something that `reason` names."""
        return self.status in (Status.DEPLOYING, Status.SUCCESS) and self.reason is not None

    def step(self, name: StepName) -> Step | None:
        """The step of this name, where it has begun."""
        return next((step for step in self.steps if step.name == name), None)


@dataclass(frozen=True)
class Replica:
    """A wanted container of a deployment, with its address for life, and what was last seen of it."""

    id: UUID
    deployment_id: UUID
    role: Role
    ordinal: int
    address: IPv4Address
    status: ReplicaStatus
    detail: str
    leaving_at: datetime | None
    terminating_at: datetime | None
    restarts: int
    restarted_at: datetime | None
    created_at: datetime

    @property
    def is_leaving(self) -> bool:
        """Whether it is being scaled away."""
        return self.leaving_at is not None


@dataclass(frozen=True)
class Fact:
    """An event about a deployment as a plain value; `actor` is a name, `data` its fields as JSON has them."""

    type: str
    at: datetime
    actor: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Moment:
    """Something that happened, in a sentence. Where it took time, `phase` names it for programs and `seconds` is how long.

    A phase is a step, or `QUEUE` (until it was taken up), `SERVE` (from SUCCESS on), `LEAVE` (until it was gone). Of one
    that goes on still, `seconds` is how long so far.
    """

    at: datetime
    sentence: str
    phase: str | None = None
    seconds: float | None = None
    is_over: bool = True


@dataclass(frozen=True)
class Explanation:
    """What happened to a deployment and why it is as it is. `waits_for`: what comes next, None where nothing has to."""

    deployment_id: UUID
    status: str
    sentence: str
    hint: str | None
    code: str | None
    waits_for: str | None
    happened: tuple[Moment, ...]
