"""What must change so that what runs matches what is wanted.

Pure: a snapshot in, actions out. Nothing here waits, sleeps or calls. The new set is verified unrouted; one swap moves the
traffic; only then does the old set drain and leave; only then is success told.

A service instance has at most one *arriving* deployment (DEPLOYING, not routed, newer than the holder), one that *holds* it
(routed, or the newest active one where nothing listens), and any number that *leave*. One that took over and was itself
replaced before its own old set was gone is never an arriving one again: it leaves.
"""

from trackside.rooms.deployments.model import ACTIVE, PREPARING, Deployment, Status, StepName
from trackside.rooms.deployments.model.planning import (
    Action,
    BeginRemoval,
    BeginStep,
    Crash,
    DeploymentView,
    EndStep,
    Plan,
    RemoveStray,
    ShowPage,
    Snapshot,
    Succeed,
)
from trackside.rooms.deployments.plan.arriving import arrive
from trackside.rooms.deployments.plan.holding import hold
from trackside.rooms.deployments.plan.leaving import leave
from trackside.rooms.networking.model import Page

BUSY = 0.05
"""Seconds between looks while something is about to change; nudges come sooner."""
WATCH = 10.0
"""Seconds between looks at what serves in peace."""


def plan(snapshot: Snapshot) -> Plan:
    """The next actions for a service instance, and when to look again."""
    holder, arriving, leaving = sort(snapshot)
    actions: list[Action] = [RemoveStray(replica_id) for replica_id in snapshot.strays]
    if arriving:
        actions += arrive(snapshot, arriving)
    if holder:
        held = hold(snapshot, holder)
        actions += held
        if not any(isinstance(action, Crash) for action in held):  # what takes over is looked at with that on record
            actions += take_over(snapshot, holder)
    for view in leaving:
        actions += leave(snapshot, view)
    actions += page(snapshot, holder, arriving)
    is_busy = bool(actions or arriving or leaving or (holder and holder.deployment.status is Status.DEPLOYING))
    if is_busy:
        return Plan(tuple(actions), BUSY)
    return Plan((), WATCH if holder else None)


def is_at_rest(plan: Plan) -> bool:
    """Whether there is nothing to do, and nothing about to change."""
    return not plan.actions and (plan.look_again is None or plan.look_again >= WATCH)


def sort(snapshot: Snapshot) -> tuple[DeploymentView | None, DeploymentView | None, list[DeploymentView]]:
    """(who holds the service instance, who arrives, who leaves)."""
    views = list(snapshot.deployments)
    arrived = [view for view in views if view.deployment.status in ACTIVE or has_taken_over(snapshot, view)]
    holder = next((view for view in arrived if view.deployment.id == snapshot.routed), None)
    if holder is None or any(is_newer_portless(view, holder) for view in arrived):
        holder = arrived[0] if arrived else None
    arriving = next((view for view in views if is_arriving(view, holder)), None)
    gone = {Status.REMOVING, Status.REMOVED, Status.FAILED, Status.SKIPPED}
    leaving = [view for view in views if view.deployment.status in gone]
    return holder, arriving, leaving


def is_arriving(view: DeploymentView, holder: DeploymentView | None) -> bool:
    """Whether a deployment is on its way to take over. One that is older than the holder never does so any more."""
    if view.deployment.status is not Status.DEPLOYING or view is holder:
        return False
    return holder is None or view.deployment.created_at > holder.deployment.created_at


def has_taken_over(snapshot: Snapshot, view: DeploymentView) -> bool:
    """Whether a deployment under way already has the traffic (or, where nothing listens, has been found well)."""
    if view.deployment.status is not Status.DEPLOYING:
        return False
    if view.deployment.id == snapshot.routed:
        return snapshot.is_route_confirmed
    network = view.deployment.step(StepName.CONFIGURE_NETWORK)
    return bool(network and network.is_skipped)


def is_newer_portless(view: DeploymentView, holder: DeploymentView) -> bool:
    """A deployment without a port that took over after the routed one was made."""
    network = view.deployment.step(StepName.CONFIGURE_NETWORK)
    return bool(network and network.is_skipped) and view.deployment.created_at > holder.deployment.created_at


def take_over(snapshot: Snapshot, holder: DeploymentView) -> list[Action]:
    """The holder has the traffic: send the others away, and tell success when they are gone."""
    deployment = holder.deployment
    if deployment.status is not Status.DEPLOYING:
        return [replaced(view, deployment) for view in older(snapshot, holder)]
    network = deployment.step(StepName.CONFIGURE_NETWORK)
    if network and network.completed_at is None:
        return [EndStep(deployment.id, StepName.CONFIGURE_NETWORK)]
    others = older(snapshot, holder)
    removals = [replaced(view, deployment) for view in others]
    drain = deployment.step(StepName.DRAIN_INSTANCES)
    if drain is None:
        return [BeginStep(deployment.id, StepName.DRAIN_INSTANCES), *removals]
    if removals or any(view.deployment.status is Status.REMOVING for view in snapshot.deployments):
        return removals
    return [EndStep(deployment.id, StepName.DRAIN_INSTANCES), Succeed(deployment.id)]


def replaced(view: DeploymentView, by: Deployment) -> Action:
    """Send away what another deployment has replaced."""
    return BeginRemoval(view.deployment.id, f"Replaced by {by.id}.", by.id)


def older(snapshot: Snapshot, holder: DeploymentView) -> list[DeploymentView]:
    """Deployments made before the holder that still hold on."""
    return [
        view
        for view in snapshot.deployments
        if view is not holder
        and view.deployment.created_at <= holder.deployment.created_at
        and view.deployment.status in ACTIVE | {Status.DEPLOYING}
    ]


def page(snapshot: Snapshot, holder: DeploymentView | None, arriving: DeploymentView | None) -> list[Action]:
    """The page visitors get while nothing serves."""
    if snapshot.routed is not None:
        return []
    wanted = _wanted_page(snapshot, holder, arriving)
    return [ShowPage(wanted)] if snapshot.page is not wanted else []


def _wanted_page(snapshot: Snapshot, holder: DeploymentView | None, arriving: DeploymentView | None) -> Page:
    if holder and holder.deployment.status is Status.CRASHED:
        return Page.CRASHED
    is_preparing = any(view.deployment.status in PREPARING for view in snapshot.deployments)
    return Page.STARTING if not holder and (arriving or is_preparing) else Page.STOPPED
