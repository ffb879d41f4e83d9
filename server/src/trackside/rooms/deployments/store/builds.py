"""Tables of the build queue: what waits for a slot of a builder or has one, and when each workspace last had its turn.

Rows are folded from the events of deployments, by the projections of this room. They stand in the platform's schema, because
the turns are taken among all workspaces.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Table, delete, func, select, update
from sqlalchemy.dialects.postgresql import UUID as Uuid
from sqlalchemy.dialects.postgresql import insert

from trackside.kit.db import Transaction, platform_metadata
from trackside.rooms.deployments.model import Priority, Status
from trackside.rooms.deployments.plan.queue import Entry, Line

BUILD_CHANNEL = "trackside_builds"
"""Where builders hear that something was put into the queue."""

build_queue = Table(
    "build_queue",
    platform_metadata,
    Column("deployment_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False, index=True),
    Column("service_instance_id", Uuid(as_uuid=True), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("queued_at", DateTime(timezone=True), nullable=False),
    Column("began_at", DateTime(timezone=True)),
)
build_turns = Table(
    "build_turns",
    platform_metadata,
    Column("workspace_id", Uuid(as_uuid=True), primary_key=True),
    Column("began_at", DateTime(timezone=True), nullable=False),
)
READ_MODELS = (build_queue, build_turns)
_IN_LINE = (build_queue.c.priority.desc(), build_queue.c.queued_at, build_queue.c.deployment_id)


# --- folding ---


async def enqueue(tx: Transaction, entry: Entry) -> None:
    """A deployment waits for a slot."""
    await tx.connection.execute(
        insert(build_queue).values(
            deployment_id=entry.deployment_id,
            workspace_id=tx.workspace,
            service_instance_id=entry.service_instance_id,
            priority=int(entry.priority),
            queued_at=entry.queued_at,
        )
    )
    await tx.notify(BUILD_CHANNEL, "")


async def follow(tx: Transaction, deployment_id: UUID, status: Status, at: datetime) -> None:
    """A deployment has a new status: in the queue it waits, is built, or is no longer there."""
    is_it = build_queue.c.deployment_id == deployment_id
    if status is Status.BUILDING:
        await tx.connection.execute(update(build_queue).where(is_it).values(began_at=at))
        turn = insert(build_turns).values(workspace_id=tx.workspace, began_at=at)
        await tx.connection.execute(turn.on_conflict_do_update(index_elements=["workspace_id"], set_={"began_at": at}))
    elif status is not Status.QUEUED:
        await tx.connection.execute(delete(build_queue).where(is_it))


async def forget(tx: Transaction, instance_id: UUID) -> None:
    """Nothing of a service instance is in the queue any longer."""
    await tx.connection.execute(delete(build_queue).where(build_queue.c.service_instance_id == instance_id))


# --- queries ---


async def lines(tx: Transaction) -> list[Line]:
    """The line of every workspace that has something in the queue, as numbers: they are seen from any workspace."""
    found = select(func.platform.build_lines().table_valued("workspace_id", "waiting", "building", "since", "turn_at"))
    return [Line(*row) for row in await tx.connection.execute(found)]


async def entries(tx: Transaction, workspace_id: UUID) -> list[Entry]:
    """What a workspace has in the queue, in the order in which it takes its turns; what is built comes first."""
    query = (
        select(build_queue)
        .where(build_queue.c.workspace_id == workspace_id)
        .order_by(build_queue.c.began_at.nulls_last(), *_IN_LINE)
    )
    return [_entry(row) for row in (await tx.connection.execute(query)).mappings()]


async def turns(tx: Transaction, deployment_ids: Collection[UUID]) -> dict[UUID, int]:
    """Which of the bound workspace's coming turns, counted from 0, these deployments have; those that don't wait are left out."""
    line = (
        select(build_queue.c.deployment_id, func.row_number().over(order_by=_IN_LINE).label("number"))
        .where(build_queue.c.workspace_id == tx.workspace, build_queue.c.began_at.is_(None))
        .subquery()
    )
    found = await tx.connection.execute(select(line).where(line.c.deployment_id.in_(deployment_ids)))
    return {row.deployment_id: row.number - 1 for row in found}


async def begun(tx: Transaction) -> Sequence[tuple[UUID, UUID]]:
    """(workspace, deployment) of all builds that have begun, the oldest first."""
    query = select(build_queue).where(build_queue.c.began_at.is_not(None)).order_by(build_queue.c.began_at)
    return [(row["workspace_id"], row["deployment_id"]) for row in (await tx.connection.execute(query)).mappings()]


async def waiting_of(tx: Transaction, instance_id: UUID) -> Entry | None:
    """What of a service instance waits for a slot."""
    query = select(build_queue).where(
        build_queue.c.service_instance_id == instance_id, build_queue.c.began_at.is_(None)
    )
    row = (await tx.connection.execute(query)).mappings().first()
    return _entry(row) if row else None


def _entry(row: Mapping[Any, Any]) -> Entry:
    return Entry(
        deployment_id=row["deployment_id"],
        service_instance_id=row["service_instance_id"],
        priority=Priority(row["priority"]),
        queued_at=row["queued_at"],
        began_at=row["began_at"],
    )
