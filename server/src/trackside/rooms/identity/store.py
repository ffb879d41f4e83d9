"""Tables of identity, in the schema `platform`."""

from uuid import UUID

from sqlalchemy import Column, DateTime, LargeBinary, Table, Text, delete, insert, select
from sqlalchemy.dialects.postgresql import UUID as Uuid

from trackside.kit.db import Transaction, platform_metadata
from trackside.kit.events import Projection, Recorded
from trackside.rooms.identity.events import TokenCreated, TokenRevoked, WorkspaceCreated
from trackside.rooms.identity.model import Token, Workspace

workspaces = Table(
    "workspaces",
    platform_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
tokens = Table(
    "tokens",
    platform_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
token_hashes = Table(
    "token_hashes",
    platform_metadata,
    Column("token_id", Uuid(as_uuid=True), primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
)
READ_MODELS = (tokens, workspaces)


async def _workspace_created(tx: Transaction, recorded: Recorded) -> None:
    event: WorkspaceCreated = recorded.event
    await tx.connection.execute(
        insert(workspaces).values(id=event.workspace_id, name=event.name, created_at=recorded.at)
    )


async def _token_created(tx: Transaction, recorded: Recorded) -> None:
    event: TokenCreated = recorded.event
    await tx.connection.execute(
        insert(tokens).values(
            id=event.token_id,
            workspace_id=event.workspace_id,
            name=event.name,
            prefix=event.prefix,
            created_at=recorded.at,
        )
    )


async def _token_revoked(tx: Transaction, recorded: Recorded) -> None:
    event: TokenRevoked = recorded.event
    await tx.connection.execute(delete(tokens).where(tokens.c.id == event.token_id))


PROJECTIONS: dict[type, Projection] = {
    WorkspaceCreated: _workspace_created,
    TokenCreated: _token_created,
    TokenRevoked: _token_revoked,
}


async def all_workspaces(tx: Transaction) -> list[Workspace]:
    rows = await tx.connection.execute(select(workspaces).order_by(workspaces.c.created_at))
    return [Workspace(**row) for row in rows.mappings()]


async def workspace_named(tx: Transaction, name: str) -> Workspace | None:
    row = (await tx.connection.execute(select(workspaces).where(workspaces.c.name == name))).mappings().first()
    return Workspace(**row) if row else None


async def workspace(tx: Transaction, workspace_id: UUID) -> Workspace | None:
    row = (await tx.connection.execute(select(workspaces).where(workspaces.c.id == workspace_id))).mappings().first()
    return Workspace(**row) if row else None


async def tokens_of(tx: Transaction, workspace_id: UUID) -> list[Token]:
    query = select(tokens).where(tokens.c.workspace_id == workspace_id).order_by(tokens.c.created_at, tokens.c.id)
    return [Token(**row) for row in (await tx.connection.execute(query)).mappings()]


async def has_token(tx: Transaction, token_id: UUID) -> bool:
    query = select(tokens.c.id).where(tokens.c.id == token_id)
    return (await tx.connection.execute(query)).first() is not None


async def keep_token_hash(tx: Transaction, token_id: UUID, digest: bytes) -> None:
    await tx.connection.execute(insert(token_hashes).values(token_id=token_id, hash=digest))


async def token_by_hash(tx: Transaction, digest: bytes) -> Token | None:
    query = select(tokens).join(token_hashes, token_hashes.c.token_id == tokens.c.id)
    row = (await tx.connection.execute(query.where(token_hashes.c.hash == digest))).mappings().first()
    return Token(**row) if row else None
