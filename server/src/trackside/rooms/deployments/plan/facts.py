"""Facts that several parts of the plan ask: ports, exits, probes. Pure."""

from datetime import datetime, timedelta

from trackside.rooms.deployments.model import Deployment, RestartPolicy, Role, SeenReplica, SeenState
from trackside.rooms.deployments.model.planning import DeploymentView, ReplicaView, Snapshot
from trackside.rooms.networking.model import Server

DEFAULT_PORT = 8080
OTHER_PORTS_AFTER = timedelta(seconds=2)
"""What listens first may be a port for metrics or debugging."""
PORTLESS_WAIT = timedelta(seconds=10)
"""How long an image that does not say whether it listens is watched before it counts as one that does not."""
SETTLE = timedelta(seconds=2)
"""How long something that does not listen must have run to count as well."""
STEADY = timedelta(minutes=10)
"""Who was well for so long has another try, though its restarts are used up."""
ARRIVING_RESTARTS = 3
"""Restarts after which an arriving deployment is given up, whatever its policy."""


FIRST_BACK_OFF = 1.0
LAST_BACK_OFF = 60.0


def members(view: DeploymentView) -> list[ReplicaView]:
    """Replicas that are to stay."""
    return [r for r in view.replicas if r.replica.role is Role.REPLICA and not r.replica.is_leaving]


def is_running(view: ReplicaView) -> bool:
    return view.seen is not None and view.seen.state is SeenState.RUNNING


def has_no_port(deployment: Deployment) -> bool:
    """Whether it is known that nothing will listen."""
    if (
        deployment.settings.port
        or deployment.settings.healthcheck_path
        or deployment.settings.healthcheck_type == "TCP"
    ):
        return False
    return bool(deployment.image and deployment.image.expects_port is False)


def expects_port(deployment: Deployment) -> bool:
    """Whether something must listen; False also where nobody knows."""
    if has_no_port(deployment):
        return False
    settings, image = deployment.settings, deployment.image
    told = settings.port or settings.healthcheck_path or settings.healthcheck_type in ("HTTP", "TCP")
    return bool(told or (image and (image.expects_port or image.exposed_ports)))


def target_port(snapshot: Snapshot, view: DeploymentView) -> int | None:
    """The port to send requests to: setting, else EXPOSE, else the one that apps are given as PORT, else that of the version before,
    as soon as it listens; else whatever listens once the app has had time to open what it opens first. None while none is known.
    """
    deployment = view.deployment
    if deployment.port or deployment.settings.port:
        return deployment.port or deployment.settings.port
    seen = next((r.seen for r in members(view) if r.seen and r.seen.listening), None)
    if seen is None:
        return None
    exposed = deployment.image.exposed_ports if deployment.image else ()
    before = (other.deployment.port for other in snapshot.deployments if other.deployment.id != deployment.id)
    for port in (*exposed, DEFAULT_PORT, *before):
        if port in seen.listening:
            return port
    has_settled = seen.started_at is None or snapshot.now >= seen.started_at + OTHER_PORTS_AFTER
    return seen.listening[0] if has_settled else None


def servers(view: DeploymentView, port: int) -> tuple[Server, ...]:
    """The backend's servers: every replica that has been started and is not being stopped."""
    return tuple(
        Server(r.replica.id, r.replica.address, port, r.replica.is_leaving)
        for r in sorted(view.replicas, key=lambda r: r.replica.ordinal)
        if r.replica.role is Role.REPLICA and r.seen is not None and r.replica.terminating_at is None
    )


def is_report_current(view: DeploymentView) -> bool:
    """Whether the edge has applied this very version of the backend."""
    return bool(view.backend and view.report and view.report.revision >= view.backend.revision)


def ended_by_itself(seen: SeenReplica) -> bool:
    """Whether its program ended, and not the machine under it."""
    return seen.state is SeenState.EXITED and not seen.is_cut_off


def is_spent(deployment: Deployment, seen: SeenReplica) -> bool:
    """Whether a container lies still for good: it ended, and its restart policy gives it no other try."""
    if not ended_by_itself(seen):
        return False
    policy = deployment.settings.restart_policy
    if policy is RestartPolicy.ALWAYS:
        return False
    if policy is RestartPolicy.NEVER or is_done(deployment, seen):
        return True
    return seen.restarts >= deployment.settings.max_restarts and not was_steady(seen, seen.ended_at)


def was_steady(seen: SeenReplica, until: datetime | None) -> bool:
    """Whether it was well for so long that it has another try: what went wrong long before does not count."""
    return bool(seen.started_at and until and until >= seen.started_at + STEADY)


def is_done(deployment: Deployment, seen: SeenReplica) -> bool:
    """Whether it ended by itself, well, and that is all right."""
    return (
        ended_by_itself(seen) and seen.exit_code == 0 and deployment.settings.restart_policy is not RestartPolicy.ALWAYS
    )


def exit_sentence(deployment: Deployment, seen: SeenReplica) -> str:
    """How a container ended, for people."""
    if seen.is_cut_off:
        return "the machine it ran on went down"
    ends = seen.restarts + (
        seen.state is SeenState.EXITED
    )  # who was restarted, or is about to be, has ended that often
    times = f", {ends} times" if ends > 1 else ""
    if seen.is_out_of_memory:
        limit = deployment.settings.memory_bytes
        size = f" of {limit >> 20} MiB" if limit else ""
        return f"the app was killed for using more than its memory limit{size}{times}"
    if seen.exit_code is not None and seen.exit_code > 128:
        return f"the app was ended by signal {seen.exit_code - 128}{times}"
    if seen.exit_code == 127:
        return f"the start command was not found in the image (exit code 127){times}"
    return f"the app exited with code {seen.exit_code}{times}"


def is_due(snapshot: Snapshot, replica: ReplicaView) -> bool:
    """Whether the back-off since our last restart of it has passed (1 s, doubled each time, at most 60 s)."""
    last = replica.replica.restarted_at
    if last is None:
        return True
    wait = min(LAST_BACK_OFF, FIRST_BACK_OFF * 2 ** min(replica.replica.restarts, 10))
    return snapshot.now > last + timedelta(seconds=wait)
