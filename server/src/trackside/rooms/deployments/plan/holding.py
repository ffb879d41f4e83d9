"""The deployment that holds the service instance: keep its replicas, scale them, restart the unwell, tell a crash. Pure."""

from datetime import timedelta

from trackside.rooms.deployments.model import ReplicaStatus, Role, SeenState, Status
from trackside.rooms.deployments.model.planning import (
    Action,
    AddReplicas,
    Crash,
    DeploymentView,
    EndStep,
    LeaveReplica,
    NoteReplica,
    PutBackend,
    Recover,
    RemoveReplica,
    ReplicaView,
    RestartReplica,
    ShowPage,
    Snapshot,
    StartReplica,
    Swap,
    TerminateReplica,
)
from trackside.rooms.deployments.plan import facts
from trackside.rooms.networking.model import Page

SEEN_STATUS = {
    SeenState.CREATED: ReplicaStatus.CREATED,
    SeenState.RUNNING: ReplicaStatus.RUNNING,
    SeenState.RESTARTING: ReplicaStatus.RESTARTING,
    SeenState.EXITED: ReplicaStatus.EXITED,
}


def hold(snapshot: Snapshot, view: DeploymentView) -> list[Action]:
    """Keep the holder as it is wanted."""
    actions = scale(view)
    for replica in facts.members(view):
        actions += tend(snapshot, view, replica)
    for replica in view.replicas:
        if replica.replica.is_leaving:
            actions += see_off(snapshot, view, replica)
    return actions + connect(view) + judge(snapshot, view)


def scale(view: DeploymentView) -> list[Action]:
    """Add what is missing, send away what is too much (highest ordinals first)."""
    deployment = view.deployment
    present = sorted(facts.members(view), key=lambda r: r.replica.ordinal)
    used = {r.replica.ordinal for r in view.replicas if r.replica.role is Role.REPLICA}
    missing = deployment.wanted_replicas - len(present)
    if missing > 0:
        free = [number for number in range(deployment.wanted_replicas + len(used)) if number not in used]
        return [AddReplicas(deployment.id, Role.REPLICA, tuple(free[:missing]))]
    return [LeaveReplica(deployment.id, r.replica.id) for r in present[deployment.wanted_replicas :]]


def tend(snapshot: Snapshot, view: DeploymentView, replica: ReplicaView) -> list[Action]:
    """Start, restart or note one replica."""
    deployment, seen = view.deployment, replica.seen
    if seen is None or seen.state is SeenState.CREATED:
        return [StartReplica(deployment.id, replica.replica.id)] if facts.is_due(snapshot, replica) else []
    status, detail = status_of(snapshot, view, replica)
    if is_news(replica, status, detail):
        return [NoteReplica(deployment.id, replica.replica.id, status, detail)]
    if seen.state is SeenState.EXITED and not facts.is_spent(deployment, seen) and facts.is_due(snapshot, replica):
        return [RestartReplica(deployment.id, replica.replica.id, facts.exit_sentence(deployment, seen))]
    if is_unwell(snapshot, view, replica) and may_restart(view, replica) and facts.is_due(snapshot, replica):
        return [RestartReplica(deployment.id, replica.replica.id, replica.health.detail if replica.health else "")]
    return []


def is_news(replica: ReplicaView, status: ReplicaStatus, detail: str) -> bool:
    """Whether that is to be recorded. One that is given up as it is unhealthy may say something else each second."""
    known = replica.replica
    if status is known.status is ReplicaStatus.CRASHED and facts.is_running(replica):
        return False
    return (status, detail) != (known.status, known.detail)


def is_unwell(snapshot: Snapshot, view: DeploymentView, replica: ReplicaView) -> bool:
    """Whether it runs, and was well since it last (re)started and is no longer, or has had the time that a start may take.

    An app that is told to end while it starts may not hear it, and is killed when it serves long since.
    """
    health, seen = replica.health, replica.seen
    if health is None or health.is_healthy or seen is None or seen.state is not SeenState.RUNNING:
        return False
    if seen.started_at is None or (health.well_until and health.well_until > seen.started_at):
        return True
    settings = view.deployment.settings
    return snapshot.now > seen.started_at + timedelta(seconds=settings.healthcheck_timeout + settings.start_period)


def may_restart(view: DeploymentView, replica: ReplicaView) -> bool:
    """Whether the restart policy gives an unhealthy replica another try."""
    settings = view.deployment.settings
    if settings.restart_policy == "NEVER":
        return False
    if settings.restart_policy == "ALWAYS" or replica.replica.restarts < settings.max_restarts:
        return True
    return bool(replica.seen and replica.health and facts.was_steady(replica.seen, replica.health.well_until))


def status_of(snapshot: Snapshot, view: DeploymentView, replica: ReplicaView) -> tuple[ReplicaStatus, str]:
    """What to tell of a replica."""
    seen = replica.seen
    if seen is None:
        return ReplicaStatus.INITIALIZING, ""
    if seen.state is SeenState.EXITED and facts.is_done(view.deployment, seen):
        return ReplicaStatus.EXITED, "It ended by itself with exit code 0."
    if seen.state is SeenState.EXITED and facts.is_spent(view.deployment, seen):
        return ReplicaStatus.CRASHED, facts.exit_sentence(view.deployment, seen)
    if seen.state is SeenState.RESTARTING or seen.state is SeenState.EXITED:
        return ReplicaStatus.RESTARTING, facts.exit_sentence(view.deployment, seen)
    if is_unwell(snapshot, view, replica) and not may_restart(view, replica):
        return ReplicaStatus.CRASHED, f"it is unhealthy: {replica.health.detail if replica.health else ''}"
    return SEEN_STATUS[seen.state], ""


def see_off(snapshot: Snapshot, view: DeploymentView, replica: ReplicaView) -> list[Action]:
    """A replica that is scaled away: closed to new requests, drained, stopped, removed."""
    identity, seen = view.deployment.id, replica.seen
    if seen is None or seen.state in (SeenState.EXITED, SeenState.CREATED):
        return [RemoveReplica(identity, replica.replica.id)]
    if replica.replica.terminating_at:
        grace = timedelta(seconds=view.deployment.settings.draining)
        late = snapshot.now > replica.replica.terminating_at + grace
        return [RemoveReplica(identity, replica.replica.id)] if late else []
    if view.backend and not facts.is_report_current(view):
        return []
    servers = view.backend.servers if view.backend else ()
    is_open = any(s.replica_id == replica.replica.id and not s.is_leaving for s in servers)
    if is_open or (replica.open_requests and not is_out_of_time(snapshot, view, replica)):
        return []
    return [TerminateReplica(identity, replica.replica.id)]


def is_out_of_time(snapshot: Snapshot, view: DeploymentView, replica: ReplicaView) -> bool:
    """Whether its open requests have had as long as they may."""
    since = replica.replica.leaving_at
    allowed = timedelta(seconds=view.deployment.settings.connection_drain)
    return since is not None and snapshot.now > since + allowed


def connect(view: DeploymentView) -> list[Action]:
    """Keep the backend's servers equal to the replicas."""
    port = view.deployment.port
    if port is None or view.backend is None:
        return []
    servers = facts.servers(view, port)
    return [PutBackend(view.deployment.id, servers)] if servers != view.backend.servers else []


def judge(snapshot: Snapshot, view: DeploymentView) -> list[Action]:
    """Tell a crash when no replica is left that could serve, and a recovery when one is back."""
    present = facts.members(view)
    crashed = [r for r in present if status_of(snapshot, view, r)[0] is ReplicaStatus.CRASHED]
    deployment = view.deployment
    if present and len(crashed) == len(present) and deployment.status is not Status.CRASHED:
        detail = status_of(snapshot, view, crashed[0])[1]
        told: list[Action] = [EndStep(deployment.id, step.name) for step in deployment.steps if not step.completed_at]
        told.append(Crash(deployment.id, f"{detail[:1].upper()}{detail[1:]}; its restart policy is spent."))
        return told + ([ShowPage(Page.CRASHED)] if snapshot.routed == deployment.id else [])
    if deployment.status is Status.CRASHED and any(is_well(view, r) for r in present):
        back: list[Action] = [Recover(deployment.id)]
        return back + ([Swap(deployment.id)] if view.backend else [])
    is_unrouted = view.backend is not None and snapshot.routed is None
    if deployment.status is Status.SUCCESS and is_unrouted and any(is_well(view, r) for r in present):
        return [Swap(deployment.id)]
    return []


def is_well(view: DeploymentView, replica: ReplicaView) -> bool:
    """Whether a replica serves."""
    if not facts.is_running(replica):
        return False
    if view.backend is None or view.backend.probe is None:
        return True
    return bool(replica.health and replica.health.is_healthy)
