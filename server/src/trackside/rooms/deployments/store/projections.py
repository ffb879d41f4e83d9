"""Folds the events of deployments into their tables."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from trackside.kit.db import Transaction
from trackside.kit.events import Projection, Recorded
from trackside.rooms.deployments import events
from trackside.rooms.deployments.model import ENDED, PREPARING, TRANSITIONS, Priority, ReplicaStatus, Status
from trackside.rooms.deployments.plan.queue import Entry
from trackside.rooms.deployments.store import builds
from trackside.rooms.deployments.store.tables import deployments, due, replicas

REASON_LENGTH = 2000


async def _requested(tx: Transaction, recorded: Recorded) -> None:
    event: events.DeploymentRequested = recorded.event
    await tx.connection.execute(
        insert(deployments).values(
            id=event.deployment_id,
            service_instance_id=event.service_instance_id,
            status=str(Status.INITIALIZING),
            trigger=event.trigger,
            source=event.source,
            commit=event.commit,
            config_version=event.config_version,
            settings=event.settings,
            build=event.build,
            variables=event.variables,
            image=event.image,
            wanted_replicas=event.replicas,
            rollback_of=event.rollback_of,
            steps=[],
            has_served=False,
            created_at=recorded.at,
            updated_at=recorded.at,
            version=recorded.seq,
        )
    )
    await _set_due(tx, event.service_instance_id)
    if event.queued_at is not None:
        priority = Priority(event.priority)
        await builds.enqueue(tx, Entry(event.deployment_id, event.service_instance_id, priority, event.queued_at))


async def _set_due(tx: Transaction, instance_id: UUID) -> None:
    statement = insert(due).values(service_instance_id=instance_id, workspace_id=tx.workspace)
    await tx.connection.execute(statement.on_conflict_do_nothing())


async def _move(tx: Transaction, recorded: Recorded, status: Status, **values: Any) -> None:
    """Set a status, along the transition table only."""
    deployment_id = recorded.event.deployment_id
    before = (
        await tx.connection.execute(select(deployments.c.status).where(deployments.c.id == deployment_id))
    ).scalar_one()
    if before != status and status not in TRANSITIONS[Status(before)]:
        raise RuntimeError(f"A deployment cannot go from {before} to {status}.")
    if status in ENDED:
        values["ended_at"] = recorded.at
    if before in PREPARING:
        await builds.follow(tx, deployment_id, status, recorded.at)
    await _touch(tx, recorded, status=str(status), **values)


async def _touch(tx: Transaction, recorded: Recorded, **values: Any) -> None:
    await tx.connection.execute(
        update(deployments)
        .where(deployments.c.id == recorded.event.deployment_id)
        .values(updated_at=recorded.at, version=recorded.seq, **values)
    )


async def _progressed(tx: Transaction, recorded: Recorded) -> None:
    await _move(tx, recorded, Status(recorded.event.status))


async def _step_started(tx: Transaction, recorded: Recorded) -> None:
    event: events.StepStarted = recorded.event
    steps = [step for step in await _steps(tx, event.deployment_id) if step["name"] != event.step]
    entry = {"name": event.step, "started_at": recorded.at.isoformat()}
    await _touch(tx, recorded, steps=[*steps, entry])


async def _step_ended(tx: Transaction, recorded: Recorded) -> None:
    event: events.StepEnded = recorded.event
    steps = await _steps(tx, event.deployment_id)
    entry: dict[str, Any] | None = next((step for step in steps if step["name"] == event.step), None)
    if entry is None:
        entry = {"name": event.step, "started_at": recorded.at.isoformat()}
        steps.append(entry)
    entry.update(completed_at=recorded.at.isoformat(), error=event.error, is_skipped=event.is_skipped)
    await _touch(tx, recorded, steps=steps)


async def _steps(tx: Transaction, deployment_id: UUID) -> list[dict[str, Any]]:
    query = select(deployments.c.steps).where(deployments.c.id == deployment_id)
    return list((await tx.connection.execute(query)).scalar_one())


async def _source_resolved(tx: Transaction, recorded: Recorded) -> None:
    await _touch(tx, recorded, commit=recorded.event.commit)


async def _image_ready(tx: Transaction, recorded: Recorded) -> None:
    await _touch(tx, recorded, image=recorded.event.image)


async def _port_found(tx: Transaction, recorded: Recorded) -> None:
    await _touch(tx, recorded, port=recorded.event.port)


async def _succeeded(tx: Transaction, recorded: Recorded) -> None:
    await _move(tx, recorded, Status.SUCCESS, has_served=True, reason=None, hint=None, code=None)


async def _failed(tx: Transaction, recorded: Recorded) -> None:
    event: events.DeploymentFailed = recorded.event
    await _move(tx, recorded, Status.FAILED, reason=event.reason[:REASON_LENGTH], hint=event.hint, code=event.code)


async def _crashed(tx: Transaction, recorded: Recorded) -> None:
    await _move(tx, recorded, Status.CRASHED, reason=recorded.event.reason[:REASON_LENGTH], code=None)


async def _held_up(tx: Transaction, recorded: Recorded) -> None:
    event: events.DeploymentHeldUp = recorded.event
    await _touch(tx, recorded, reason=event.reason[:REASON_LENGTH], hint=event.hint, code=event.code)


async def _resumed(tx: Transaction, recorded: Recorded) -> None:
    await _touch(tx, recorded, reason=None, hint=None, code=None)


async def _removing(tx: Transaction, recorded: Recorded) -> None:
    await _move(tx, recorded, Status.REMOVING, reason=recorded.event.reason, code=None, removing_at=recorded.at)
    await _set_due(tx, recorded.event.service_instance_id)


async def _removed(tx: Transaction, recorded: Recorded) -> None:
    reason = recorded.event.reason
    await _move(tx, recorded, Status.REMOVED, **({"reason": reason, "code": None} if reason else {}))


async def _replicas_wanted(tx: Transaction, recorded: Recorded) -> None:
    await _touch(tx, recorded, wanted_replicas=recorded.event.replicas)


async def _replica_planned(tx: Transaction, recorded: Recorded) -> None:
    event: events.ReplicaPlanned = recorded.event
    await tx.connection.execute(
        insert(replicas).values(
            id=event.replica_id,
            deployment_id=event.deployment_id,
            role=event.role,
            ordinal=event.ordinal,
            address=event.address,
            status=str(ReplicaStatus.CREATED),
            detail="",
            restarts=0,
            created_at=recorded.at,
        )
    )
    await _touch(tx, recorded)


async def _change_replica(tx: Transaction, recorded: Recorded, **values: Any) -> None:
    await tx.connection.execute(update(replicas).where(replicas.c.id == recorded.event.replica_id).values(**values))
    await _touch(tx, recorded)


async def _replica_changed(tx: Transaction, recorded: Recorded) -> None:
    await _change_replica(tx, recorded, status=recorded.event.status, detail=recorded.event.detail)


async def _replica_restarted(tx: Transaction, recorded: Recorded) -> None:
    await _change_replica(tx, recorded, restarts=replicas.c.restarts + 1, restarted_at=recorded.at)


async def _replica_leaving(tx: Transaction, recorded: Recorded) -> None:
    await _change_replica(tx, recorded, leaving_at=recorded.at, status=str(ReplicaStatus.REMOVING))


async def _replica_terminating(tx: Transaction, recorded: Recorded) -> None:
    await _change_replica(tx, recorded, terminating_at=recorded.event.at, status=str(ReplicaStatus.REMOVING))


async def _replica_removed(tx: Transaction, recorded: Recorded) -> None:
    await tx.connection.execute(delete(replicas).where(replicas.c.id == recorded.event.replica_id))
    await _touch(tx, recorded)


async def _instance_forgotten(tx: Transaction, recorded: Recorded) -> None:
    instance_id = recorded.event.service_instance_id
    await tx.connection.execute(delete(deployments).where(deployments.c.service_instance_id == instance_id))
    await tx.connection.execute(delete(due).where(due.c.service_instance_id == instance_id))
    await builds.forget(tx, instance_id)


PROJECTIONS: dict[type, Projection] = {
    events.DeploymentRequested: _requested,
    events.DeploymentProgressed: _progressed,
    events.StepStarted: _step_started,
    events.StepEnded: _step_ended,
    events.SourceResolved: _source_resolved,
    events.ImageReady: _image_ready,
    events.PortFound: _port_found,
    events.DeploymentSucceeded: _succeeded,
    events.DeploymentFailed: _failed,
    events.DeploymentCrashed: _crashed,
    events.DeploymentRecovered: _succeeded,
    events.DeploymentHeldUp: _held_up,
    events.DeploymentResumed: _resumed,
    events.DeploymentRemoving: _removing,
    events.DeploymentRemoved: _removed,
    events.ReplicasWanted: _replicas_wanted,
    events.ReplicaPlanned: _replica_planned,
    events.ReplicaChanged: _replica_changed,
    events.ReplicaRestarted: _replica_restarted,
    events.ReplicaLeaving: _replica_leaving,
    events.ReplicaTerminating: _replica_terminating,
    events.ReplicaRemoved: _replica_removed,
    events.InstanceForgotten: _instance_forgotten,
}
