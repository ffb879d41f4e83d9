"""REST door of telemetry: logs, read and followed."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Response, Stream

from trackside.kit.clock import in_utc
from trackside.kit.db import Database, Transaction
from trackside.kit.web import one_per_line
from trackside.rooms.access.model import Actor
from trackside.rooms.identity import service as identity
from trackside.rooms.telemetry import service
from trackside.rooms.telemetry.model import Line, LogKind, LogQuery
from trackside.rooms.telemetry.ports import LogStore


class LineList(msgspec.Struct):
    lines: list[Line]


@get(
    "/deployments/{deployment_id:uuid}/logs",
    responses={
        200: ResponseSpec(
            LineList,
            generate_examples=False,
            description="Lines; with `follow` a stream, one of them per line, blank lines between.",
        )
    },
)
async def read_logs(  # noqa: PLR0913 — one parameter per query parameter
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    log_store: NamedDependency[LogStore],
    database: NamedDependency[Database],
    deployment_id: FromPath[UUID],
    kind: FromQuery[LogKind] = LogKind.DEPLOY,
    after: FromQuery[int] = 0,
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
    limit: Annotated[
        int | None,
        QueryParameter(ge=1, le=10_000, description="The first lines only; 1000 at most where not followed."),
    ] = None,
    newest: Annotated[bool, QueryParameter(description="The last `limit` lines instead.")] = False,
    follow: Annotated[bool, QueryParameter(description="Go on with each line as it comes.")] = False,
) -> Response[LineList] | Stream:
    """The deployment's log. With `follow` one JSON object per line, until nothing more can come or `limit` is reached;
    with `newest` too, the last `limit` lines and then all that come.
    """
    stream, _ = await service.stream_of(tx, actor, deployment_id, kind)
    query = LogQuery(after, in_utc(since), in_utc(until), limit, newest)
    if not follow:
        return Response(LineList(list(await service.read_lines(log_store, stream, query))))

    async def is_over() -> bool:
        async with database.transaction(stream.workspace_id) as again:
            is_refused = not await identity.still_acts(again, actor)
            return is_refused or await service.is_over(again, actor, deployment_id, kind)

    return one_per_line(await service.follow_until(log_store, stream, query, is_over))


router = Router("/v1", route_handlers=[read_logs], tags=["logs"])
