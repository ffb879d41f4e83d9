"""REST door of identity: who am I."""

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor
from trackside.rooms.identity import service


class WorkspaceShape(msgspec.Struct):
    id: str
    name: str


class Me(msgspec.Struct):
    """Who asks, and in which workspace."""

    id: str
    kind: str
    name: str
    workspace: WorkspaceShape


@get("/me")
async def read_me(tx: NamedDependency[Transaction], actor: NamedDependency[Actor]) -> Me:
    """Who you are here."""
    workspace = await service.workspace_of(tx, actor)
    return Me(actor.id, str(actor.kind), actor.name, WorkspaceShape(str(workspace.id), workspace.name))


router = Router("/v1", route_handlers=[read_me], tags=["identity"])
