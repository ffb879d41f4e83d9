"""Every status of a deployment against everything that can happen to it: moves along the table, and nothing else."""

from ipaddress import IPv4Network
from uuid import UUID

from sqlalchemy import select, update

from conftest import Platform
from rest.client import IMAGE
from trackside.kit import events as stream
from trackside.rooms.deployments import events, service
from trackside.rooms.deployments.model import ENDED, TRANSITIONS, Status
from trackside.rooms.deployments.store import tables
from trackside.rooms.deployments.store.projections import PROJECTIONS
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects

ADDRESSING = Addressing("localhost", IPv4Network("10.210.0.0/16"))
MOVES = {
    events.DeploymentSucceeded: Status.SUCCESS,
    events.DeploymentRecovered: Status.SUCCESS,
    events.DeploymentFailed: Status.FAILED,
    events.DeploymentCrashed: Status.CRASHED,
    events.DeploymentRemoving: Status.REMOVING,
    events.DeploymentRemoved: Status.REMOVED,
}
STAYS = {
    events.StepStarted, events.StepEnded, events.SourceResolved, events.ImageReady, events.PortFound,
    events.ReplicasWanted, events.ReplicaPlanned, events.ReplicaChanged, events.ReplicaRestarted, events.ReplicaLeaving,
    events.ReplicaTerminating, events.ReplicaRemoved, events.DeploymentHeldUp, events.DeploymentResumed,
}  # fmt: skip
BEGINS_OR_FORGETS = {events.DeploymentRequested, events.InstanceForgotten}


def _facts(deployment_id: UUID, instance_id: UUID) -> list[tuple[stream.Event, Status]]:
    """Everything that moves a deployment, with where it leads."""
    made = [
        events.DeploymentSucceeded(deployment_id),
        events.DeploymentRecovered(deployment_id),
        events.DeploymentFailed(deployment_id, instance_id, "It did not work.", "Mend it."),
        events.DeploymentCrashed(deployment_id, "It crashed."),
        events.DeploymentRemoving(deployment_id, instance_id, "Replaced."),
        events.DeploymentRemoved(deployment_id, instance_id, None),
    ]
    progressed = [(events.DeploymentProgressed(deployment_id, str(status)), status) for status in Status]
    return [*((fact, MOVES[type(fact)]) for fact in made), *progressed]


def test_every_event_is_known_to_move_or_not_to_move() -> None:
    assert set(PROJECTIONS) == set(MOVES) | {events.DeploymentProgressed} | STAYS | BEGINS_OR_FORGETS


class Undone(Exception):
    """Thrown so that a transaction leaves nothing."""


async def _outcome(platform: Platform, before: Status, fact: stream.Event) -> tuple[str, bool] | str:
    """(status, whether it has ended) after the fact, or the refusal."""
    deployment = tables.deployments.c
    try:
        async with platform.database.transaction(platform.workspace_id) as tx:
            await tx.connection.execute(update(tables.deployments).values(status=str(before), ended_at=None))
            await stream.record(tx, fact)
            row = (await tx.connection.execute(select(deployment.status, deployment.ended_at))).one()
            raise Undone
    except Undone:
        return row.status, row.ended_at is not None
    except RuntimeError as error:
        return str(error)


async def test_a_status_is_left_along_the_table_only(platform: Platform) -> None:
    async with platform.database.transaction(platform.workspace_id) as tx:
        project = await projects.create_project(tx, platform.actor, "shop")
        await projects.create_service(tx, platform.actor, project.id, "web")
        instance = (await projects.list_instances(tx, project.id))[0]
        made = await service.request_deployment(tx, platform.actor, ADDRESSING, instance.id, service.Asked(IMAGE))
    wrong: list[str] = []
    for before in Status:
        for fact, after in _facts(made.id, instance.id):
            may = after == before or after in TRANSITIONS[before]
            expected = (str(after), after in ENDED) if may else f"A deployment cannot go from {before} to {after}."
            if (outcome := await _outcome(platform, before, fact)) != expected:
                wrong.append(f"{before}, {type(fact).__name__}: {outcome}")
    assert wrong == []
