"""What follows from an event: one table, event type → job."""

from collections.abc import Callable, Iterable

from trackside.kit.db import Transaction
from trackside.kit.events import Reaction, Recorded
from trackside.kit.jobs import Job, Jobs
from trackside.rooms.deployments import events as deployments
from trackside.rooms.deployments import tasks
from trackside.rooms.projects import events as projects
from trackside.rooms.telemetry import tasks as telemetry

Following = Callable[[Transaction, Recorded], Iterable[Job]]


def _requested(tx: Transaction, recorded: Recorded) -> Iterable[Job]:
    event: deployments.DeploymentRequested = recorded.event
    if event.image is None and event.queued_at is None:
        yield tasks.prepare(tx.workspace, event.deployment_id)
    yield tasks.converge(tx.workspace, event.service_instance_id)


def _converge(tx: Transaction, recorded: Recorded) -> Iterable[Job]:
    yield tasks.converge(tx.workspace, recorded.event.service_instance_id)


def _deletion(tx: Transaction, recorded: Recorded) -> Iterable[Job]:
    event: projects.DeletionRequested = recorded.event
    yield tasks.clear_away(tx.workspace, event.kind, event.subject_id)


def _removed(tx: Transaction, recorded: Recorded) -> Iterable[Job]:
    yield from _converge(tx, recorded)
    yield from _collect(tx, recorded)


def _collect(tx: Transaction, recorded: Recorded) -> Iterable[Job]:
    yield tasks.collect_images(tx.workspace, recorded.event.service_instance_id)


def _deleted(tx: Transaction, recorded: Recorded) -> Iterable[Job]:
    yield telemetry.drop_logs(tx.workspace)


SUBSCRIPTIONS: dict[type, Following] = {
    deployments.DeploymentRequested: _requested,
    deployments.ImageReady: _converge,
    deployments.DeploymentFailed: _removed,
    deployments.DeploymentRemoving: _converge,
    deployments.DeploymentRemoved: _removed,
    deployments.ReplicasWanted: _converge,
    deployments.InstanceForgotten: _collect,
    projects.DeletionRequested: _deletion,
    projects.DeletionFinished: _deleted,
}


def reactions(jobs: Jobs) -> dict[type, Reaction]:
    """The table as reactions that write the jobs in the event's own transaction."""

    def reaction(follow: Following) -> Reaction:
        async def react(tx: Transaction, recorded: Recorded) -> None:
            for job in follow(tx, recorded):
                await jobs.defer(tx, job)

        return react

    return {kind: reaction(follow) for kind, follow in SUBSCRIPTIONS.items()}
