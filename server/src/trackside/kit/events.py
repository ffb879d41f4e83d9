"""Events: immutable facts, appended in the transaction of the change they tell, and folded into read models at once.

Two kinds of stream: the platform's, and one per workspace (a table of its schema). A stream is gap-free and hash-chained:
appending locks the stream's head. Read models are written by projections only, so that replaying the events rebuilds them.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import UUID as Uuid

from trackside.kit import failpoints
from trackside.kit.db import Transaction, platform_metadata, tenant_metadata
from trackside.kit.ids import new_id

StreamName = Literal["platform", "workspace"]
CHANNEL = "trackside_events"
GENESIS = "0" * 64
TICK = timedelta(microseconds=1)
"""By which an event is later than the one before it, at least."""


class Event:
    """Base of all events. `stream` says where it is kept; `version` counts the shapes its data has had."""

    stream: ClassVar[StreamName] = "workspace"
    version: ClassVar[int] = 1


@dataclass(frozen=True)
class Recorded:
    """An event as it was recorded."""

    seq: int
    id: UUID
    type: str
    at: datetime
    actor: Mapping[str, str]
    event: Any
    workspace_id: UUID | None


Projection = Callable[[Transaction, Recorded], Awaitable[None]]
Reaction = Callable[[Transaction, Recorded], Awaitable[None]]
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Registry:
    """What the process knows of events: their types, the projections that fold them, the reactions that follow."""

    types: dict[str, type[Any]] = field(default_factory=dict)
    projections: dict[str, list[Projection]] = field(default_factory=dict)
    reactions: dict[str, list[Reaction]] = field(default_factory=dict)
    upcasters: dict[tuple[str, int], Upcaster] = field(default_factory=dict)

    def know(self, *types: type[Any]) -> None:
        for kind in types:
            self.types[kind.__name__] = kind
            failpoints.declare(f"{kind.__name__}.recorded", f"{kind.__name__}.committed")

    def project(self, table: Mapping[type[Any], Projection]) -> None:
        for kind, fold in table.items():
            self.know(kind)
            self.projections.setdefault(kind.__name__, []).append(fold)

    def react(self, table: Mapping[type[Any], Reaction]) -> None:
        for kind, reaction in table.items():
            self.reactions.setdefault(kind.__name__, []).append(reaction)


registry = Registry()
"""This process's registry; bootstrap fills it once."""


def _tables(metadata: MetaData) -> tuple[Table, Table]:
    events = Table(
        "events",
        metadata,
        Column("seq", BigInteger, primary_key=True),
        Column("id", Uuid(as_uuid=True), nullable=False, unique=True),
        Column("type", Text, nullable=False),
        Column("version", Integer, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False),
        Column("actor", JSONB, nullable=False),
        Column("data", JSONB, nullable=False),
        Column("subject", Uuid(as_uuid=True), index=True),
        Column("previous_hash", Text, nullable=False),
        Column("hash", Text, nullable=False),
    )
    head = Table(
        "stream_head",
        metadata,
        Column("one", Integer, primary_key=True),
        Column("seq", BigInteger, nullable=False),
        Column("hash", Text, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False),
    )
    return events, head


platform_events, platform_head = _tables(platform_metadata)
workspace_events, workspace_head = _tables(tenant_metadata)


def subject_of(event: object) -> UUID | None:
    """What the event is about, for looking its history up: its deployment, else its service instance, else its first field,
    where that is an id.
    """
    fields = vars(event)
    value = fields.get("deployment_id") or fields.get("service_instance_id") or next(iter(fields.values()), None)
    return value if isinstance(value, UUID) else None


async def record(tx: Transaction, *events: Event) -> None:
    """Append events to their streams and fold them into the read models, all in the caller's transaction."""
    for event in events:
        await _record_one(tx, event)


async def lock(tx: Transaction, stream: StreamName = "workspace") -> int:
    """Let nobody else append until this transaction ends; the number of the last event."""
    _, head = _stream_tables(stream)
    return (await tx.connection.execute(select(head.c.seq).with_for_update())).scalar_one()


async def _record_one(tx: Transaction, event: Event) -> None:
    table, head = _stream_tables(event.stream)
    row = (await tx.connection.execute(select(head.c.seq, head.c.hash, head.c.at).with_for_update())).one()
    seq, previous = row.seq + 1, row.hash
    values: dict[str, Any] = {
        "seq": seq,
        "id": new_id(),
        "type": type(event).__name__,
        "version": event.version,
        "at": max(tx.clock.now(), row.at + TICK),  # a clock that is put back must not turn the order of things round
        "actor": dict(tx.actor),
        "data": msgspec.to_builtins(event),
    }
    digest = chain(previous, values)
    await tx.connection.execute(
        insert(table).values(**values, subject=subject_of(event), previous_hash=previous, hash=digest)
    )
    await tx.connection.execute(update(head).values(seq=seq, hash=digest, at=values["at"]))
    workspace = tx.workspace_id if event.stream == "workspace" else None
    recorded = Recorded(seq, values["id"], values["type"], values["at"], values["actor"], event, workspace)
    await fold(tx, recorded)
    for reaction in registry.reactions.get(recorded.type, []):
        await reaction(tx, recorded)
    await tx.notify(CHANNEL, f"{workspace or 'platform'}:{recorded.type}:{subject_of(event) or ''}")
    failpoints.reach(f"{recorded.type}.recorded")
    tx.after_commit.append(lambda: failpoints.reach(f"{recorded.type}.committed"))


async def fold(tx: Transaction, recorded: Recorded) -> None:
    """Apply an event to every read model that it concerns."""
    for projection in registry.projections.get(recorded.type, []):
        await projection(tx, recorded)


def chain(previous: str, values: Mapping[str, Any]) -> str:
    """The hash of an event, given the hash before it; hex SHA-256 over a canonical form."""
    canonical = json.dumps(
        {
            "seq": values["seq"],
            "id": str(values["id"]),
            "type": values["type"],
            "version": values["version"],
            "at": values["at"].isoformat(),
            "actor": values["actor"],
            "data": values["data"],
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(f"{previous}\n{canonical}".encode()).hexdigest()


async def read(
    tx: Transaction, stream: StreamName, *, after: int = 0, subjects: Sequence[UUID] | None = None
) -> AsyncIterator[Recorded]:
    """Events of a stream in order, upcast to their newest shape; with `subjects`, only those about them."""
    table, _ = _stream_tables(stream)
    query = select(table).where(table.c.seq > after).order_by(table.c.seq)
    if subjects is not None:
        query = query.where(table.c.subject.in_(subjects))
    for row in (await tx.connection.execute(query)).mappings():
        yield recorded_of(row, tx.workspace_id if stream == "workspace" else None)


def recorded_of(row: Mapping[Any, Any], workspace_id: UUID | None) -> Recorded:
    """The event of a row of a stream, upcast to its newest shape."""
    event = revive(row["type"], row["version"], row["data"])
    return Recorded(row["seq"], row["id"], row["type"], row["at"], row["actor"], event, workspace_id)


def revive(type_name: str, version: int, data: dict[str, Any]) -> Any:
    """The event value out of what was stored, whatever its version."""
    kind = registry.types[type_name]
    while version < kind.version:
        data = registry.upcasters[type_name, version](data)
        version += 1
    return msgspec.convert(data, kind)


async def verify(tx: Transaction, stream: StreamName) -> int | None:
    """The number of the first event that breaks the chain, or None where the stream is whole."""
    table, head = _stream_tables(stream)
    previous, expected = GENESIS, 1
    for row in (await tx.connection.execute(select(table).order_by(table.c.seq))).mappings():
        if row["seq"] != expected or row["previous_hash"] != previous or chain(previous, dict(row)) != row["hash"]:
            return expected
        previous, expected = row["hash"], expected + 1
    last = (await tx.connection.execute(select(head.c.seq, head.c.hash))).one()
    return None if (last.seq, last.hash) == (expected - 1, previous) else expected


async def replay(tx: Transaction, stream: StreamName) -> int:
    """Fold a whole stream again, without reactions; the caller has emptied the read models. The number of events."""
    count = 0
    async for recorded in read(tx, stream):
        await fold(tx, recorded)
        count += 1
    return count


def _stream_tables(stream: StreamName) -> tuple[Table, Table]:
    return (platform_events, platform_head) if stream == "platform" else (workspace_events, workspace_head)
