"""What the planner sees of a service instance, and what it may decide."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from trackside.rooms.deployments.model import Deployment, Replica, ReplicaStatus, Role, SeenReplica, StepName
from trackside.rooms.networking.model import Backend, BackendReport, Health, Page, Server


@dataclass(frozen=True)
class ReplicaView:
    """A replica as wanted, as the engine has it (None: not at all), and as the edge's prober finds it (None: not asked)."""

    replica: Replica
    seen: SeenReplica | None
    health: Health | None = None
    open_requests: int = 0


@dataclass(frozen=True)
class DeploymentView:
    """A deployment with its replicas, its backend as wanted, and the edge's last report on it."""

    deployment: Deployment
    replicas: tuple[ReplicaView, ...] = ()
    backend: Backend | None = None
    report: BackendReport | None = None
    reported_at: datetime | None = None


@dataclass(frozen=True)
class Snapshot:
    """All the planner needs of one service instance.

    `routed` is the deployment that the wanted route leads to, `confirmed_at` when the edge said that it does so (None: not yet).
    """

    now: datetime
    deployments: tuple[DeploymentView, ...]  # newest first; those that have not ended or left something behind
    routed: UUID | None
    page: Page | None
    confirmed_at: datetime | None
    strays: tuple[UUID, ...] = ()  # containers of this service instance that no record knows

    @property
    def is_route_confirmed(self) -> bool:
        """Whether the edge does what is wanted of it."""
        return self.confirmed_at is not None


@dataclass(frozen=True)
class RemoveStray:
    replica_id: UUID


@dataclass(frozen=True)
class AddReplicas:
    deployment_id: UUID
    role: Role
    ordinals: tuple[int, ...]


@dataclass(frozen=True)
class StartReplica:
    deployment_id: UUID
    replica_id: UUID


@dataclass(frozen=True)
class RestartReplica:
    deployment_id: UUID
    replica_id: UUID
    reason: str


@dataclass(frozen=True)
class LeaveReplica:
    """Scale it away: no new requests, open ones finish."""

    deployment_id: UUID
    replica_id: UUID


@dataclass(frozen=True)
class TerminateReplica:
    deployment_id: UUID
    replica_id: UUID


@dataclass(frozen=True)
class RemoveReplica:
    deployment_id: UUID
    replica_id: UUID


@dataclass(frozen=True)
class NoteReplica:
    """Record that what is seen of it changed."""

    deployment_id: UUID
    replica_id: UUID
    status: ReplicaStatus
    detail: str


@dataclass(frozen=True)
class BeginStep:
    deployment_id: UUID
    step: StepName


@dataclass(frozen=True)
class EndStep:
    deployment_id: UUID
    step: StepName
    error: str | None = None
    is_skipped: bool = False


@dataclass(frozen=True)
class FindPort:
    deployment_id: UUID
    port: int


@dataclass(frozen=True)
class PutBackend:
    deployment_id: UUID
    servers: tuple[Server, ...]


@dataclass(frozen=True)
class RemoveBackend:
    deployment_id: UUID


@dataclass(frozen=True)
class Swap:
    deployment_id: UUID


@dataclass(frozen=True)
class ShowPage:
    page: Page


@dataclass(frozen=True)
class BeginRemoval:
    deployment_id: UUID
    reason: str
    by: UUID | None = None  # the deployment that replaced it


@dataclass(frozen=True)
class EndRemoval:
    deployment_id: UUID


@dataclass(frozen=True)
class Succeed:
    deployment_id: UUID


@dataclass(frozen=True)
class Recover:
    deployment_id: UUID


@dataclass(frozen=True)
class Fail:
    deployment_id: UUID
    reason: str
    hint: str


@dataclass(frozen=True)
class Crash:
    deployment_id: UUID
    reason: str


Action = (
    RemoveStray
    | AddReplicas
    | StartReplica
    | RestartReplica
    | LeaveReplica
    | TerminateReplica
    | RemoveReplica
    | NoteReplica
    | BeginStep
    | EndStep
    | FindPort
    | PutBackend
    | RemoveBackend
    | Swap
    | ShowPage
    | BeginRemoval
    | EndRemoval
    | Succeed
    | Recover
    | Fail
    | Crash
)
WORLD = (RemoveStray, StartReplica, RestartReplica, TerminateReplica, RemoveReplica)
"""Actions that touch the engine; all others are written down only."""


@dataclass(frozen=True)
class Plan:
    """What to do now, and in how many seconds to look again (None: at rest until something happens)."""

    actions: tuple[Action, ...]
    look_again: float | None
