"""The operator's work on the database: schemas brought up to date, the keys' fingerprint compared, the first workspace made,
events verified, tokens made, listed and revoked.
"""

import asyncio

from sqlalchemy import text

from trackside.kit import events
from trackside.kit.crypto import KeyMissing, Keyring
from trackside.kit.db import Database
from trackside.migrations.run import application_role, migrate_platform, migrate_workspace
from trackside.rooms.identity import service as identity
from trackside.rooms.identity.errors import WorkspaceMissing
from trackside.rooms.identity.model import DEFAULT_WORKSPACE, NewToken, Token


async def prepare(owner_url: str, database: Database, owner: Database, keyring: Keyring) -> None:
    """Bring every schema up to date and make what the platform needs to be used. Errors: `KeyMissing` for foreign keys."""
    role = application_role(database.url)
    await asyncio.to_thread(migrate_platform, owner_url, role)
    await _check_keys(owner, keyring)
    async with database.transaction() as tx:
        try:
            await identity.workspace_named(tx, DEFAULT_WORKSPACE)
        except WorkspaceMissing:
            await identity.record_workspace(tx, DEFAULT_WORKSPACE)
        workspaces = await identity.all_workspaces(tx)
    for workspace in workspaces:
        await asyncio.to_thread(migrate_workspace, owner_url, role, workspace.id)


async def _check_keys(owner: Database, keyring: Keyring) -> None:
    """The keys the data was sealed with are the keys we have; at the first start, remember them."""
    async with owner.transaction() as tx:
        stored = (await tx.connection.execute(text("SELECT key_fingerprint FROM platform.installation"))).scalar()
        if stored is None:
            await tx.connection.execute(
                text("INSERT INTO platform.installation VALUES (1, :fingerprint)"),
                {"fingerprint": keyring.fingerprint},
            )
        elif stored != keyring.fingerprint:
            raise KeyMissing("The keys of this state directory are not those the database was written with.")


async def verify_events(database: Database) -> dict[str, int]:
    """The streams whose chain is broken, with the number of the first broken event."""
    broken: dict[str, int] = {}
    async with database.transaction() as tx:
        workspaces = await identity.all_workspaces(tx)
        if (seq := await events.verify(tx, "platform")) is not None:
            broken["platform"] = seq
    for workspace in workspaces:
        async with database.transaction(workspace.id) as tx:
            if (seq := await events.verify(tx, "workspace")) is not None:
                broken[workspace.name] = seq
    return broken


async def create_token(database: Database, name: str) -> NewToken:
    """A token that acts as the owner of the workspace `default`."""
    async with database.transaction() as tx:
        workspace = await identity.workspace_named(tx, DEFAULT_WORKSPACE)
        return await identity.create_token(tx, workspace.id, name)


async def list_tokens(database: Database) -> list[Token]:
    """The tokens of the workspace `default`."""
    async with database.transaction() as tx:
        workspace = await identity.workspace_named(tx, DEFAULT_WORKSPACE)
        return await identity.list_tokens(tx, workspace.id)


async def revoke_token(database: Database, named: str) -> Token:
    """Revoke a token of the workspace `default`."""
    async with database.transaction() as tx:
        workspace = await identity.workspace_named(tx, DEFAULT_WORKSPACE)
        return await identity.revoke_token(tx, workspace.id, named)
