"""A deployment on its way in: pre-deploy command, replicas, verification unrouted, the swap. Pure."""

from datetime import timedelta
from uuid import UUID

from trackside.rooms.deployments.model import ReplicaStatus, Role, SeenReplica, SeenState, StepName
from trackside.rooms.deployments.model.planning import (
    Action,
    AddReplicas,
    BeginStep,
    DeploymentView,
    EndStep,
    Fail,
    FindPort,
    NoteReplica,
    PutBackend,
    RemoveReplica,
    ReplicaView,
    RestartReplica,
    Snapshot,
    StartReplica,
    Swap,
)
from trackside.rooms.deployments.plan import facts

HEALTH_HINT = (
    "Read `trackside logs`; check the health check path, that the app listens on 0.0.0.0:$PORT, and the timeout."
)
EXIT_HINT = "Read `trackside logs`; run the start command locally with the same variables."


def arrive(snapshot: Snapshot, view: DeploymentView) -> list[Action]:
    """The next actions towards the swap; [] while there is something to wait for."""
    waiting = pre_deploy(snapshot, view)
    if waiting is not None:
        return waiting
    return replicas(snapshot, view) or verify(snapshot, view) or []


def pre_deploy(snapshot: Snapshot, view: DeploymentView) -> list[Action] | None:
    """Run the pre-deploy command once, before any replica starts; None where it is done or there is none."""
    deployment = view.deployment
    step = deployment.step(StepName.PRE_DEPLOY_COMMAND)
    command = deployment.settings.pre_deploy_command or (deployment.image and deployment.image.pre_deploy_command)
    tasks = [r for r in view.replicas if r.replica.role is Role.PRE_DEPLOY]
    if not command or (step and step.completed_at):
        return [RemoveReplica(deployment.id, r.replica.id) for r in tasks] or None
    if step is None:
        return [BeginStep(deployment.id, StepName.PRE_DEPLOY_COMMAND)]
    if not tasks:
        return [AddReplicas(deployment.id, Role.PRE_DEPLOY, (0,))]
    seen = tasks[0].seen
    if seen is None or seen.state is SeenState.CREATED:
        return [StartReplica(deployment.id, tasks[0].replica.id)]
    if seen.state is SeenState.EXITED:
        return _pre_deployed(view, tasks[0].replica.id, seen)
    if snapshot.now > step.started_at + timedelta(seconds=deployment.settings.pre_deploy_timeout):
        sentence = f"The pre-deploy command did not end within {deployment.settings.pre_deploy_timeout:g} s."
        return failure(
            view, StepName.PRE_DEPLOY_COMMAND, sentence, "Raise `deploy.preDeployTimeoutSeconds` if it needs longer."
        )
    return []


def _pre_deployed(view: DeploymentView, task_id: UUID, seen: SeenReplica) -> list[Action]:
    """What becomes of a command that has ended. One that the machine cut off is done anew."""
    if seen.is_cut_off:
        return [RemoveReplica(view.deployment.id, task_id)]
    if seen.exit_code == 0:
        return [EndStep(view.deployment.id, StepName.PRE_DEPLOY_COMMAND)]
    sentence = f"The pre-deploy command failed with exit code {seen.exit_code}."
    hint = "Read `trackside logs`; no replica of this version was started."
    return failure(view, StepName.PRE_DEPLOY_COMMAND, sentence, hint)


def replicas(snapshot: Snapshot, view: DeploymentView) -> list[Action] | None:
    """Have the wanted number of containers, started; None where they are."""
    deployment = view.deployment
    present = facts.members(view)
    begin: list[Action] = []
    if deployment.step(StepName.CREATE_CONTAINER) is None:
        begin = [BeginStep(deployment.id, StepName.CREATE_CONTAINER)]
    missing = deployment.wanted_replicas - len(present)
    if missing > 0:
        used = {r.replica.ordinal for r in present}
        free = [number for number in range(deployment.wanted_replicas) if number not in used]
        return [*begin, AddReplicas(deployment.id, Role.REPLICA, tuple(free[:missing]))]
    if begin:
        return begin
    surplus = present[deployment.wanted_replicas :]
    if surplus:
        return [RemoveReplica(deployment.id, r.replica.id) for r in surplus]
    idle = [r for r in present if r.seen is None or r.seen.state is SeenState.CREATED]
    if idle:
        return [StartReplica(deployment.id, r.replica.id) for r in idle]
    fallen = [r for r in present if r.seen and is_fallen(view, r.seen) and facts.is_due(snapshot, r)]
    if fallen:
        return [RestartReplica(deployment.id, r.replica.id, "It was stopped from outside.") for r in fallen]
    step = deployment.step(StepName.CREATE_CONTAINER)
    if step and step.completed_at is None:
        return [EndStep(deployment.id, StepName.CREATE_CONTAINER), BeginStep(deployment.id, StepName.HEALTHCHECK)]
    return None


def is_fallen(view: DeploymentView, seen: SeenReplica) -> bool:
    """Whether it lies still though its policy would have it run: it was stopped from outside."""
    if seen.state is not SeenState.EXITED or facts.is_spent(view.deployment, seen):
        return False
    return seen.restarts < facts.ARRIVING_RESTARTS


def verify(snapshot: Snapshot, view: DeploymentView) -> list[Action] | None:
    """Find the port, ask the edge to probe every replica unrouted, then swap; or give up with the reason."""
    if given_up := give_up(snapshot, view):
        return given_up
    deployment, present = view.deployment, facts.members(view)
    if is_portless(snapshot, view):
        return settle_portless(snapshot, view)
    port = facts.target_port(snapshot, view)
    if port is None:
        return []
    found: list[Action] = [FindPort(deployment.id, port)] if deployment.port is None else []
    servers = facts.servers(view, port)
    if found or view.backend is None or view.backend.servers != servers:
        return [*found, PutBackend(deployment.id, servers)]
    return swap(snapshot, view) if all(is_verified(view, r) for r in present) else []


def swap(snapshot: Snapshot, view: DeploymentView) -> list[Action]:
    """Every replica is well: send the traffic here."""
    deployment = view.deployment
    health = deployment.step(StepName.HEALTHCHECK)
    if health and health.completed_at is None:
        return [
            EndStep(deployment.id, StepName.HEALTHCHECK),
            BeginStep(deployment.id, StepName.CONFIGURE_NETWORK),
            Swap(deployment.id),
        ]
    if snapshot.routed != deployment.id:
        return [Swap(deployment.id)]
    return []


def is_well(view: DeploymentView) -> bool:
    """Whether there are replicas, and all are verified."""
    present = facts.members(view)
    return bool(present) and all(is_verified(view, r) for r in present)


def is_verified(view: DeploymentView, replica: ReplicaView) -> bool:
    """Whether the edge has this replica and has found it well (or was told not to ask)."""
    if not facts.is_running(replica) or not facts.is_report_current(view):
        return False
    if view.backend and view.backend.probe is None:
        return bool(replica.seen and view.deployment.port in replica.seen.listening)
    return bool(replica.health and replica.health.is_healthy)


def is_portless(snapshot: Snapshot, view: DeploymentView) -> bool:
    """Whether nothing listens and nothing has to."""
    if facts.has_no_port(view.deployment):
        return True
    if facts.expects_port(view.deployment) or view.deployment.port:
        return False
    present = facts.members(view)
    if any(r.seen and r.seen.listening for r in present):
        return False
    started = [r.seen.started_at for r in present if r.seen and r.seen.started_at]
    return bool(started) and snapshot.now > max(started) + facts.PORTLESS_WAIT


def settle_portless(snapshot: Snapshot, view: DeploymentView) -> list[Action]:
    """Nothing to probe: well is who runs for a while, or has ended well."""
    for replica in facts.members(view):
        seen = replica.seen
        if seen is None or (not facts.is_done(view.deployment, seen) and not facts.is_running(replica)):
            return []
        if facts.is_running(replica) and (seen.started_at is None or snapshot.now < seen.started_at + facts.SETTLE):
            return []
    identity = view.deployment.id
    return [
        EndStep(identity, StepName.HEALTHCHECK),
        EndStep(identity, StepName.CONFIGURE_NETWORK, is_skipped=True),
    ]


def give_up(snapshot: Snapshot, view: DeploymentView) -> list[Action] | None:
    """The reason why this deployment will not serve, where there is one."""
    deployment = view.deployment
    for replica in facts.members(view):
        seen = replica.seen
        if seen is None or seen.exit_code is None:
            continue
        ended = seen.state is SeenState.EXITED and not facts.is_done(deployment, seen)
        ended_unasked = facts.is_done(deployment, seen) and facts.expects_port(deployment)
        tries = seen.restarts + replica.replica.restarts
        if tries >= facts.ARRIVING_RESTARTS or (ended and facts.is_spent(deployment, seen)) or ended_unasked:
            sentence = facts.exit_sentence(deployment, seen)
            reason = f"{sentence[0].upper()}{sentence[1:]} before it served."
            return [
                NoteReplica(deployment.id, replica.replica.id, ReplicaStatus.CRASHED, sentence),
                *failure(view, StepName.HEALTHCHECK, reason, EXIT_HINT),
            ]
    step = deployment.step(StepName.HEALTHCHECK)
    allowed = deployment.settings.healthcheck_timeout + deployment.settings.start_period
    is_late = step and step.completed_at is None and snapshot.now > step.started_at + timedelta(seconds=allowed)
    # What was found well is not given up because nobody looked in time: the engine, the database may have been away.
    if is_late and not is_well(view):
        reason = f"It was not healthy within {allowed:g} s: {unhealthy_detail(view)}."
        return [*unhealthy(view), *failure(view, StepName.HEALTHCHECK, reason, HEALTH_HINT)]
    return None


def unhealthy(view: DeploymentView) -> list[Action]:
    """Note of each replica that is not well what the edge said of it."""
    return [
        NoteReplica(view.deployment.id, r.replica.id, ReplicaStatus.CRASHED, f"it is unhealthy: {r.health.detail}")
        for r in facts.members(view)
        if r.health and not r.health.is_healthy
    ]


def unhealthy_detail(view: DeploymentView) -> str:
    """What the prober, or else the list of listening ports, says of a replica that is not well."""
    for replica in facts.members(view):
        if replica.health and not replica.health.is_healthy:
            return replica.health.detail
    for replica in facts.members(view):
        if replica.seen and replica.seen.listening_loopback and not replica.seen.listening:
            ports = ", ".join(str(port) for port in replica.seen.listening_loopback)
            return f"it listens on 127.0.0.1 only (port {ports}), where no request can reach it"
    if view.backend is None:
        return "it listens on no port"
    return "the edge has no answer from it yet"


def failure(view: DeploymentView, step: StepName, reason: str, hint: str) -> list[Action]:
    """End the step and the deployment with one sentence."""
    return [EndStep(view.deployment.id, step, error=reason), Fail(view.deployment.id, reason, hint)]
