"""Tables of deployments: records and replicas in the workspace's schema, and `due`, which tells what to look at."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    Table,
    Text,
    delete,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, distinct_on, insert
from sqlalchemy.dialects.postgresql import UUID as Uuid

from trackside.kit.db import Transaction, platform_metadata, tenant_metadata
from trackside.kit.events import Projection, Recorded
from trackside.rooms.deployments import events
from trackside.rooms.deployments.model import (
    ENDED,
    TRANSITIONS,
    Deployment,
    ImageFacts,
    Replica,
    ReplicaStatus,
    Role,
    Settings,
    Status,
    Step,
    Trigger,
)

deployments = Table(
    "deployments",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("service_instance_id", Uuid(as_uuid=True), nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("hint", Text),
    Column("trigger", Text, nullable=False),
    Column("source", JSONB, nullable=False),
    Column("commit", JSONB),
    Column("config_version", Integer, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("build", JSONB, nullable=False),
    Column("variables", JSONB, nullable=False),
    Column("image", JSONB),
    Column("port", Integer),
    Column("wanted_replicas", Integer, nullable=False),
    Column("rollback_of", Uuid(as_uuid=True)),
    Column("steps", JSONB, nullable=False),
    Column("has_served", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("removing_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("version", BigInteger, nullable=False),
)
replicas = Table(
    "replicas",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column(
        "deployment_id",
        Uuid(as_uuid=True),
        ForeignKey(deployments.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("role", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("address", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("leaving_at", DateTime(timezone=True)),
    Column("terminating_at", DateTime(timezone=True)),
    Column("restarts", Integer, nullable=False),
    Column("restarted_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
due = Table(
    "due",
    platform_metadata,
    Column("service_instance_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
)
READ_MODELS = (replicas, deployments)
SHARED_READ_MODELS = (due,)
REASON_LENGTH = 2000


# --- projections ---


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
    await _move(tx, recorded, Status.SUCCESS, has_served=True, reason=None, hint=None)


async def _failed(tx: Transaction, recorded: Recorded) -> None:
    event: events.DeploymentFailed = recorded.event
    await _move(tx, recorded, Status.FAILED, reason=event.reason[:REASON_LENGTH], hint=event.hint)


async def _crashed(tx: Transaction, recorded: Recorded) -> None:
    await _move(tx, recorded, Status.CRASHED, reason=recorded.event.reason[:REASON_LENGTH])


async def _removing(tx: Transaction, recorded: Recorded) -> None:
    await _move(tx, recorded, Status.REMOVING, reason=recorded.event.reason, removing_at=recorded.at)
    await _set_due(tx, recorded.event.service_instance_id)


async def _removed(tx: Transaction, recorded: Recorded) -> None:
    reason = recorded.event.reason
    await _move(tx, recorded, Status.REMOVED, **({"reason": reason} if reason else {}))


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


# --- queries ---


def _deployment(row: Mapping[str, Any]) -> Deployment:
    return Deployment(
        id=row["id"],
        service_instance_id=row["service_instance_id"],
        status=Status(row["status"]),
        reason=row["reason"],
        hint=row["hint"],
        trigger=Trigger(row["trigger"]),
        source=row["source"],
        commit=row["commit"],
        config_version=row["config_version"],
        settings=msgspec.convert(row["settings"], Settings),
        build=row["build"],
        variables={name: UUID(version) for name, version in row["variables"].items()},
        image=msgspec.convert(row["image"], ImageFacts) if row["image"] else None,
        port=row["port"],
        wanted_replicas=row["wanted_replicas"],
        rollback_of=row["rollback_of"],
        steps=tuple(_step(step) for step in row["steps"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        removing_at=row["removing_at"],
        ended_at=row["ended_at"],
        version=row["version"],
    )


def _step(entry: Mapping[str, Any]) -> Step:
    return msgspec.convert(dict(entry), Step)


def _replica(row: Mapping[str, Any]) -> Replica:
    values = dict(row)
    values.update(role=Role(row["role"]), status=ReplicaStatus(row["status"]), address=IPv4Address(row["address"]))
    return Replica(**values)


async def deployment(tx: Transaction, deployment_id: UUID) -> Deployment | None:
    query = select(deployments).where(deployments.c.id == deployment_id)
    row = (await tx.connection.execute(query)).mappings().first()
    return _deployment(dict(row)) if row else None


async def deployments_of(tx: Transaction, instance_id: UUID, limit: int) -> list[Deployment]:
    """Newest first."""
    query = (
        select(deployments)
        .where(deployments.c.service_instance_id == instance_id)
        .order_by(deployments.c.created_at.desc(), deployments.c.id.desc())
        .limit(limit)
    )
    return [_deployment(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def latest_and_active(
    tx: Transaction, instance_ids: Sequence[UUID]
) -> dict[UUID, tuple[Deployment, Deployment | None]]:
    """The newest deployment of each service instance, and the one that holds it (SUCCESS, CRASHED or SLEEPING)."""
    query = (
        select(deployments)
        .where(deployments.c.service_instance_id.in_(instance_ids))
        .order_by(deployments.c.service_instance_id, deployments.c.created_at.desc(), deployments.c.id.desc())
        .ext(distinct_on(deployments.c.service_instance_id))
    )
    latest = {
        row["service_instance_id"]: _deployment(dict(row)) for row in (await tx.connection.execute(query)).mappings()
    }
    active = query.where(deployments.c.status.in_([Status.SUCCESS, Status.CRASHED, Status.SLEEPING]))
    held = {
        row["service_instance_id"]: _deployment(dict(row)) for row in (await tx.connection.execute(active)).mappings()
    }
    return {key: (newest, held.get(key)) for key, newest in latest.items()}


async def unsettled(tx: Transaction, instance_id: UUID) -> list[Deployment]:
    """Deployments of a service instance that have not ended, or that still have replicas; newest first."""
    has_replicas = select(replicas.c.id).where(replicas.c.deployment_id == deployments.c.id).exists()
    query = (
        select(deployments)
        .where(deployments.c.service_instance_id == instance_id)
        .where(or_(deployments.c.status.not_in([str(status) for status in ENDED]), has_replicas))
        .order_by(deployments.c.created_at.desc(), deployments.c.id.desc())
    )
    return [_deployment(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def replicas_of(tx: Transaction, deployment_ids: Sequence[UUID]) -> list[Replica]:
    query = select(replicas).where(replicas.c.deployment_id.in_(deployment_ids)).order_by(replicas.c.ordinal)
    return [_replica(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def free_addresses(tx: Transaction, subnet: IPv4Network, count: int) -> list[IPv4Address] | None:
    """Addresses of the subnet no replica has, going round so that one just given up is not given out at once."""
    rows = await tx.connection.execute(select(replicas.c.address, replicas.c.created_at))
    taken = {IPv4Address(row.address): row.created_at for row in rows if IPv4Address(row.address) in subnet}
    last = max(taken, key=lambda address: taken[address], default=subnet[1])
    usable = [subnet[number] for number in range(2, subnet.num_addresses - 1)]
    start = next((index for index, address in enumerate(usable) if address > last), 0)
    free = [address for address in usable[start:] + usable[:start] if address not in taken]
    return free[:count] if len(free) >= count else None


async def images_to_keep(tx: Transaction, instance_id: UUID, count: int) -> list[tuple[UUID, str]]:
    """(deployment, image) of the last deployments that reached SUCCESS, and of all that have not ended."""
    served = (
        select(deployments.c.id, deployments.c.image)
        .where(deployments.c.service_instance_id == instance_id, deployments.c.has_served)
        .order_by(deployments.c.created_at.desc())
        .limit(count)
    )
    live = select(deployments.c.id, deployments.c.image).where(
        deployments.c.service_instance_id == instance_id,
        deployments.c.status.not_in([str(status) for status in ENDED]),
        deployments.c.image.is_not(None),
    )
    rows = [*(await tx.connection.execute(served)), *(await tx.connection.execute(live))]
    return list({(row.id, row.image["image_id"]) for row in rows if row.image})


async def has_served(tx: Transaction, deployment_id: UUID) -> bool:
    query = select(deployments.c.has_served).where(deployments.c.id == deployment_id)
    return bool((await tx.connection.execute(query)).scalar_one_or_none())


async def all_due(tx: Transaction) -> list[tuple[UUID, UUID]]:
    """(workspace, service instance) of everything a planner has to look at."""
    return [(row.workspace_id, row.service_instance_id) for row in await tx.connection.execute(select(due))]


async def unfinished_preparations(tx: Transaction) -> list[tuple[UUID, bool]]:
    """(deployment, whether its source is an image) of the bound workspace's deployments that wait for an image."""
    query = select(deployments.c.id, deployments.c.source).where(
        deployments.c.status.in_([Status.INITIALIZING, Status.QUEUED, Status.BUILDING])
    )
    return [(row.id, row.source.get("kind") == "image") for row in await tx.connection.execute(query)]
