"""What every handler gets: the actor behind the credential, and the one transaction, committed when the handler returns."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.di import NamedDependency

from trackside.kit.db import Database, Transaction
from trackside.rooms.access.errors import Unauthenticated
from trackside.rooms.access.model import Actor
from trackside.rooms.identity import service as identity


async def provide_actor(request: Request[Any, Any, Any], database: NamedDependency[Database]) -> Actor:
    """Who asks. Errors: `Unauthenticated`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("You are not signed in.")
    async with database.transaction(is_snapshot=True) as tx:
        return await identity.actor_for_token(tx, token.strip())


async def provide_transaction(
    request: Request[Any, Any, Any], database: NamedDependency[Database], actor: NamedDependency[Actor]
) -> AsyncIterator[Transaction]:
    """The transaction of the request, bound to the actor's workspace.

    What only reads sees one moment: what is deleted between two of its statements is there whole, or not at all.
    """
    reads = request.method in ("GET", "HEAD")
    workspace_id = actor.grants[0].workspace_id
    async with database.transaction(workspace_id, actor=actor.as_record(), is_snapshot=reads) as tx:
        yield tx
