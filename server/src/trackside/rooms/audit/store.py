"""Queries on the workspace's event stream; this room has no tables of its own."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, or_, select

from trackside.kit.db import Transaction
from trackside.kit.events import Recorded, recorded_of, workspace_events, workspace_head
from trackside.rooms.audit.model import EventQuery, Subjects
from trackside.rooms.audit.plan import CREATIONS, Creation

COMMITTED = "EnvironmentConfigCommitted"


async def last_number(tx: Transaction) -> int:
    """The number of the newest event."""
    return (await tx.connection.execute(select(workspace_head.c.seq))).scalar_one()


async def page(tx: Transaction, query: EventQuery, subjects: Subjects | None, last: int) -> list[Recorded]:
    """Events that fit, up to the number `last`, in their order; None: whatever they are about."""
    columns = workspace_events.c
    fitting: list[ColumnElement[bool]] = [columns.seq > query.after, columns.seq <= last]
    if query.since is not None:
        fitting.append(columns.at >= query.since)
    if query.until is not None:
        fitting.append(columns.at <= query.until)
    if query.types:
        fitting.append(columns.type.in_(query.types))
    if subjects is not None:
        fitting.append(_is_about(subjects))
    order = columns.seq.desc() if query.newest else columns.seq
    statement = select(workspace_events).where(*fitting).order_by(order).limit(query.limit)
    rows = (await tx.connection.execute(statement)).mappings().all()
    return [recorded_of(row, tx.workspace_id) for row in (reversed(rows) if query.newest else rows)]


def _is_about(subjects: Subjects) -> ColumnElement[bool]:
    columns = workspace_events.c
    fitting: list[ColumnElement[bool]] = [columns.subject.in_(subjects.ids)]
    for service in subjects.services:
        is_named = columns.data["patch"]["services"].has_key(str(service))
        fitting.append(and_(columns.type == COMMITTED, columns.subject.in_(subjects.environments), is_named))
    return or_(*fitting)


async def creations(tx: Transaction, ids: Collection[str]) -> dict[str, Creation]:
    """How each of these projects, environments, services, service instances and deployments came to be, by id."""
    columns = workspace_events.c
    query = select(columns.subject, columns.type, columns.data).where(
        columns.subject.in_(ids), columns.type.in_(CREATIONS)
    )
    return {str(row.subject): Creation(row.type, row.data) for row in await tx.connection.execute(query)}


def builtins(event: object) -> dict[str, Any]:
    """An event's fields as JSON has them."""
    return msgspec.to_builtins(event)
