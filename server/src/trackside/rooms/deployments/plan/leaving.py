"""A deployment on its way out: unrouted, drained, asked to stop, stopped, gone. Pure."""

from datetime import timedelta

from trackside.rooms.deployments.model import SeenState, Status
from trackside.rooms.deployments.model.planning import (
    Action,
    DeploymentView,
    EndRemoval,
    RemoveBackend,
    RemoveReplica,
    ShowPage,
    Snapshot,
    TerminateReplica,
)
from trackside.rooms.networking.model import Page

SILENCE = timedelta(seconds=1)
"""After this long without news from the edge, its last count of open requests counts as fresh."""


def leave(snapshot: Snapshot, view: DeploymentView) -> list[Action]:
    """The next actions of a deployment that has to go."""
    if snapshot.routed == view.deployment.id:
        return [ShowPage(Page.STOPPED)]
    if not view.replicas:
        return finish(view)
    if not is_drained(snapshot, view):
        return []
    actions: list[Action] = []
    for replica in view.replicas:
        identity, seen = replica.replica.id, replica.seen
        terminating_at = replica.replica.terminating_at
        grace = timedelta(seconds=view.deployment.settings.draining)
        if seen is None or seen.state in (SeenState.EXITED, SeenState.CREATED):
            actions.append(RemoveReplica(view.deployment.id, identity))
        elif terminating_at is None:
            actions.append(TerminateReplica(view.deployment.id, identity))
        elif snapshot.now > terminating_at + grace:
            actions.append(RemoveReplica(view.deployment.id, identity))
    return actions


def finish(view: DeploymentView) -> list[Action]:
    """Nothing of it runs any more: give its slot back and close the record."""
    actions: list[Action] = [RemoveBackend(view.deployment.id)] if view.backend else []
    if view.deployment.status is Status.REMOVING:
        actions.append(EndRemoval(view.deployment.id))
    return actions


def is_drained(snapshot: Snapshot, view: DeploymentView) -> bool:
    """Whether its replicas may be stopped: never routed, or overlap over and open requests ended or out of time."""
    if view.deployment.status is not Status.REMOVING or view.backend is None:
        return True
    if snapshot.confirmed_at is None:
        return False
    since = view.deployment.removing_at or view.deployment.updated_at
    settings = view.deployment.settings
    if snapshot.now < since + timedelta(seconds=settings.overlap):
        return False
    if snapshot.now > since + timedelta(seconds=settings.connection_drain):
        return True
    if view.report is None or view.reported_at is None:
        return False
    is_fresh = view.reported_at >= snapshot.confirmed_at or snapshot.now > since + SILENCE
    return is_fresh and view.report.open_requests == 0
