"""REST door of telemetry: logs, read and followed."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Response, Stream

from trackside.kit.db import Database, Transaction
from trackside.rooms.access.model import Actor
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import PREPARING
from trackside.rooms.telemetry import service
from trackside.rooms.telemetry.model import Line, LogKind
from trackside.rooms.telemetry.ports import LogStore

NDJSON = "application/x-ndjson"


class LineList(msgspec.Struct):
    lines: list[Line]


def _in_utc(moment: datetime | None) -> datetime | None:
    """A time that was given without a zone is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


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
    limit: Annotated[int, QueryParameter(ge=1, le=10_000)] = 1000,
    newest: FromQuery[bool] = False,
    follow: FromQuery[bool] = False,
) -> Response[LineList] | Stream:
    """The deployment's log; with `follow`, one JSON object per line for as long as it goes on."""
    stream, _ = await service.stream_of(tx, actor, deployment_id, kind)
    if not follow:
        lines = await log_store.read(
            stream, after=after, since=_in_utc(since), until=_in_utc(until), limit=limit, newest=newest
        )
        return Response(LineList(list(lines)))

    async def is_over() -> bool:
        async with database.transaction(stream.workspace_id) as again:
            found = await deployments.read_deployment(again, actor, deployment_id)
        return found.ended_at is not None if kind is not LogKind.BUILD else found.status not in PREPARING

    async def body() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(service.follow_until(log_store, stream, after, is_over)) as lines:
            async for line in lines:
                yield msgspec.json.encode(line) + b"\n" if line else b"\n"

    return Stream(body(), media_type=NDJSON)


router = Router("/v1", route_handlers=[read_logs], tags=["logs"])
