"""REST door of audit: the workspace's events, read and followed."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromQuery, QueryParameter
from litestar.response import Response, Stream

from trackside.kit.clock import in_utc
from trackside.kit.db import Database, Transaction
from trackside.kit.web import one_per_line
from trackside.rooms.access.model import Actor
from trackside.rooms.audit import service
from trackside.rooms.audit.model import About, EventQuery, Page


@get(
    "/events",
    responses={
        200: ResponseSpec(
            Page,
            generate_examples=False,
            description="Events, oldest first; with `follow` a stream, one of them per line, blank lines between.",
        )
    },
)
async def list_events(  # noqa: PLR0913 — one parameter per query parameter
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    database: NamedDependency[Database],
    after: Annotated[int, QueryParameter(ge=0, description="Those after this number: the cursor.")] = 0,
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
    types: Annotated[list[str] | None, QueryParameter(name="type", description="Only of these types.")] = None,
    project_id: FromQuery[UUID | None] = None,
    environment_id: FromQuery[UUID | None] = None,
    service_id: FromQuery[UUID | None] = None,
    deployment_id: FromQuery[UUID | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000, description="At most so many, where not followed.")] = 100,
    newest: Annotated[bool, QueryParameter(description="The last `limit` events instead of the first.")] = False,
    follow: Annotated[bool, QueryParameter(description="Go on with each event as it comes, from `after` on.")] = False,
) -> Response[Page] | Stream:
    """What happened in the workspace, and who did it. With `follow` one JSON object per line, until the client goes."""
    about = About(project_id, environment_id, service_id, deployment_id)
    query = EventQuery(after, in_utc(since), in_utc(until), tuple(types or ()), about, limit, newest)
    if not follow:
        return Response(await service.read_events(tx, actor, query))
    onwards = replace(query, limit=service.PAGE, newest=False)
    subjects = await service.check_query(tx, actor, onwards)
    return one_per_line(service.follow_events(database, actor, tx.workspace, onwards, subjects))


router = Router("/v1", route_handlers=[list_events], tags=["events"])
