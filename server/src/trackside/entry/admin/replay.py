"""Rebuilds every read model from the events, in one transaction, and tells what would differ."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Table, delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from trackside.kit import events
from trackside.kit.db import TENANT, Database, Emptied, Transaction, schema_of


@dataclass(frozen=True)
class Replayed:
    """How many events were folded, and the tables whose content came out different (none, where all is well)."""

    events: int
    changed: tuple[str, ...]


async def replay(owner: Database, workspaces: Sequence[UUID], models: Sequence[Emptied]) -> Replayed:
    """Empty and rebuild. `owner` connects as the owner of the schemas; processes should be stopped or will wait meanwhile."""
    shared = [table for model in models for table in model.shared]
    per_workspace = [table for model in models for table in model.workspace]
    async with owner.transaction() as tx:
        await tx.connection.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        before = await _digests(tx.connection, workspaces, shared, per_workspace)
        count = await _rebuild(tx, workspaces, shared, per_workspace)
        after = await _digests(tx.connection, workspaces, shared, per_workspace)
    return Replayed(count, tuple(sorted(name for name in before if before[name] != after[name])))


async def _rebuild(
    tx: Transaction, workspaces: Sequence[UUID], shared: Sequence[Table], per_workspace: Sequence[Table]
) -> int:
    for table in shared:
        await tx.connection.execute(delete(table))
    count = await events.replay(tx, "platform")
    for workspace_id in workspaces:
        await _bind(tx.connection, workspace_id)
        for table in per_workspace:
            await tx.connection.execute(delete(table))
        bound = Transaction(tx.connection, tx.clock, workspace_id)
        count += await events.replay(bound, "workspace")
    return count


async def _bind(connection: AsyncConnection, workspace_id: UUID) -> None:
    await connection.execution_options(schema_translate_map={TENANT: schema_of(workspace_id)})


async def _digests(
    connection: AsyncConnection, workspaces: Sequence[UUID], shared: Sequence[Table], per_workspace: Sequence[Table]
) -> dict[str, str]:
    """A digest of each table's content, whatever the order of its rows."""
    found = {f"platform.{table.name}": await _digest(connection, table) for table in shared}
    for workspace_id in workspaces:
        await _bind(connection, workspace_id)
        for table in per_workspace:
            found[f"{schema_of(workspace_id)}.{table.name}"] = await _digest(connection, table)
    return found


async def _digest(connection: AsyncConnection, table: Table) -> str:
    digest = hashlib.sha256()
    rows = await connection.stream(select(table).order_by(*table.primary_key.columns))
    async for row in rows:
        digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()
