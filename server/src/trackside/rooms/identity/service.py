"""Use cases of identity: making workspaces and tokens, and finding who a token acts for."""

import secrets
from uuid import UUID

from trackside.kit import events
from trackside.kit.crypto import hash_token
from trackside.kit.db import Emptied, Transaction
from trackside.kit.ids import new_id, parse_id
from trackside.rooms.access.errors import Unauthenticated
from trackside.rooms.access.model import Actor, ActorKind, Grant, Role
from trackside.rooms.identity import plan, store
from trackside.rooms.identity.errors import WorkspaceMissing
from trackside.rooms.identity.events import TokenCreated, TokenRevoked, WorkspaceCreated
from trackside.rooms.identity.model import NewToken, Token, Workspace

PROJECTIONS = store.PROJECTIONS
"""How this room's events are folded; joined by bootstrap."""
READ_MODELS = Emptied(shared=store.READ_MODELS, workspace=())
"""What a replay empties and rebuilds."""


async def record_workspace(tx: Transaction, name: str) -> UUID:
    """Write a new workspace into the directory; its schema is made by migration, from the id returned."""
    workspace_id = new_id()
    await events.record(tx, WorkspaceCreated(workspace_id, name))
    return workspace_id


async def workspace_named(tx: Transaction, name: str) -> Workspace:
    """Errors: `WorkspaceMissing`."""
    found = await store.workspace_named(tx, name)
    if found is None:
        raise WorkspaceMissing(f"There is no workspace `{name}`.")
    return found


async def all_workspaces(tx: Transaction) -> list[Workspace]:
    """Every workspace of the installation."""
    return await store.all_workspaces(tx)


async def workspace_of(tx: Transaction, actor: Actor) -> Workspace:
    """The workspace an actor works in. Errors: `WorkspaceMissing`, `Unauthenticated`."""
    if not actor.grants:
        raise Unauthenticated("You are not signed in.")
    found = await store.workspace(tx, actor.grants[0].workspace_id)
    if found is None:
        raise WorkspaceMissing("Your workspace is gone.")
    return found


async def create_token(tx: Transaction, workspace_id: UUID, name: str) -> NewToken:
    """A new token that acts as the owner of the workspace; its text is returned this once. Errors: `TokenNameRefused`."""
    plan.check_token_name(name)
    text = plan.token_text(secrets.token_urlsafe(32))
    token = NewToken(new_id(), name, plan.shown_prefix(text), text)
    await events.record(tx, TokenCreated(token.id, workspace_id, name, token.prefix))
    await store.keep_token_hash(tx, token.id, hash_token(text))
    return token


async def list_tokens(tx: Transaction, workspace_id: UUID) -> list[Token]:
    """The tokens that are accepted for this workspace, oldest first."""
    return await store.tokens_of(tx, workspace_id)


async def revoke_token(tx: Transaction, workspace_id: UUID, named: str) -> Token:
    """Let a token, named by id, beginning, name or its whole text, be refused from the next request on.

    Errors: `TokenMissing`, `TokenAmbiguous`.
    """
    await events.lock(tx, "platform")
    whole = await store.token_by_hash(tx, hash_token(named))
    is_ours = whole is not None and whole.workspace_id == workspace_id
    token = whole if whole and is_ours else plan.token_meant(await store.tokens_of(tx, workspace_id), named)
    await events.record(tx, TokenRevoked(token.id, workspace_id))
    return token


async def still_acts(tx: Transaction, actor: Actor) -> bool:
    """Whether whoever was let in would be let in still; for what goes on after the request, as a followed log does."""
    token_id = parse_id(actor.id) if actor.kind is ActorKind.TOKEN else None
    return token_id is not None and await store.has_token(tx, token_id)


async def actor_for_token(tx: Transaction, token: str) -> Actor:
    """Who acts. Errors: `Unauthenticated`."""
    found = await store.token_by_hash(tx, hash_token(token))
    if found is None:
        raise Unauthenticated("This token is not valid here.")
    return Actor(str(found.id), ActorKind.TOKEN, found.name, (Grant(found.workspace_id, Role.OWNER),))
