"""Use cases of telemetry: reading and following logs, and dropping those of what was deleted."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

from trackside.kit.apart import apart
from trackside.kit.db import Database, Transaction
from trackside.kit.errors import Kind, TracksideError
from trackside.kit.garbage import Freed
from trackside.rooms.access.model import Actor, Permission
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import PREPARING, Deployment
from trackside.rooms.identity import service as identity
from trackside.rooms.networking.model import Access
from trackside.rooms.telemetry.converge import Collector
from trackside.rooms.telemetry.model import Line, LogKind, LogQuery, Stream
from trackside.rooms.telemetry.plan import unowned
from trackside.rooms.telemetry.ports import LogStore

__all__ = [
    "AccessKeeper", "Collector", "build_log", "collect_garbage", "drop_unowned", "follow_until", "is_over", "read_lines", "stream_of"
]  # fmt: skip

PAGE = 1000
"""Lines read at once where nobody says how many."""
QUIET = 2.0
"""Seconds after which a follower looks whether it is over; without a line meanwhile it is given a sign of life."""
_shown = lru_cache(maxsize=4096, typed=True)(str)
"""Ids and small numbers as texts: the same few come again and again."""
LATE = timedelta(seconds=2)
"""A line may be stored so long after it was written."""


async def stream_of(tx: Transaction, actor: Actor, deployment_id: UUID, kind: LogKind) -> tuple[Stream, Deployment]:
    """The stream with a deployment's log of a kind, where the actor may read it. HTTP logs belong to the service instance."""
    deployment = await deployments.read_deployment(tx, actor, deployment_id, Permission.LOG_READ)
    owner = deployment.service_instance_id if kind is LogKind.HTTP else deployment.id
    return Stream(tx.workspace, kind, owner), deployment


async def is_over(tx: Transaction, actor: Actor, deployment_id: UUID, kind: LogKind) -> bool:
    """Whether nothing more can come to a deployment's log: its build, or it itself, has ended or is gone."""
    try:
        found = await deployments.read_deployment(tx, actor, deployment_id, Permission.LOG_READ)
    except TracksideError as error:
        if error.kind is Kind.MISSING:
            return True
        raise
    return found.status not in PREPARING if kind is LogKind.BUILD else found.ended_at is not None


def build_log(store: LogStore, workspace_id: UUID, deployment_id: UUID) -> Callable[[str], Awaitable[None]]:
    """Takes the lines of a deployment's build."""
    stream = Stream(workspace_id, LogKind.BUILD, deployment_id)

    async def write(line: str) -> None:
        await store.append(stream, [Line(datetime.now(UTC), line)])

    return write


async def read_lines(store: LogStore, stream: Stream, query: LogQuery) -> Sequence[Line]:
    """The lines that are there, a page of them where the query names no limit."""
    limit = PAGE if query.limit is None else query.limit
    return await store.read(
        stream, after=query.after, since=query.since, until=query.until, limit=limit, newest=query.newest
    )


async def follow_until(
    store: LogStore, stream: Stream, query: LogQuery, is_over: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[Line | None]:
    """Lines as they come, and None as a sign of life, until `is_over` says so and all that was written is out.

    Raises `LogsUnavailable` where it can't begin.
    """
    # Where following begins if no line that is there is wanted: asked first, so that none falls between.
    present = await store.read(stream, limit=1, newest=True)
    begin = max(query.after, present[0].seq if present else 0)
    followed = _followed(store, stream, query, Ending(begin, is_over))
    return followed if query.limit is None or query.newest else _first(query.limit, followed)


@dataclass(frozen=True)
class Ending:
    """Lines up to `begin` are there already; more come until `is_over`."""

    begin: int
    is_over: Callable[[], Awaitable[bool]]


async def _first(count: int, lines: AsyncGenerator[Line | None]) -> AsyncGenerator[Line | None]:
    async with aclosing(lines):
        async for line in lines:
            yield line
            count -= line is not None
            if count == 0:
                return


async def _followed(store: LogStore, stream: Stream, query: LogQuery, ending: Ending) -> AsyncGenerator[Line | None]:
    """The lines that are there, then those that come."""
    last = ending.begin
    async with aclosing(_pages(store, stream, query)) as standing:
        async for line in standing:
            last = max(last, line.seq)
            yield line
    onwards = replace(query, after=last, limit=None, newest=False)
    async with aclosing(_coming(store, stream, onwards, ending.is_over)) as coming:
        async for line in coming:
            yield line


async def _pages(store: LogStore, stream: Stream, query: LogQuery) -> AsyncGenerator[Line]:
    """The lines that are there, page by page; with `newest` the last ones at once."""
    while True:
        page = await read_lines(store, stream, query)
        for line in page:
            yield line
        if query.newest or len(page) < PAGE:
            return
        query = replace(query, after=page[-1].seq, limit=None)


async def _coming(
    store: LogStore, stream: Stream, query: LogQuery, is_over: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[Line | None]:
    """Lines as they come; at the end those that were written before it and had not come yet."""
    last = query.after
    inbox: asyncio.Queue[Line] = asyncio.Queue(PAGE)
    filling = asyncio.create_task(_fill(inbox, store, stream, last))
    try:
        while not (_is_past(query.until) or await is_over()):
            is_quiet = True
            async for line in _within(inbox, QUIET):
                last = line.seq
                if query.takes(line):
                    is_quiet = False
                    yield line
            if is_quiet:
                yield None
            if filling.done():
                filling.result()
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
    async for line in _pages(store, stream, replace(query, after=last)):
        yield line


async def _fill(inbox: asyncio.Queue[Line], store: LogStore, stream: Stream, after: int) -> None:
    """A task of its own, so that the store's follower ends with it, wherever it waits."""
    async with aclosing(store.follow(stream, after=after)) as lines:
        async for line in lines:
            await inbox.put(line)


async def _within(inbox: asyncio.Queue[Line], seconds: float) -> AsyncGenerator[Line]:
    """The lines that come within some seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while loop.time() < deadline:
        try:
            async with asyncio.timeout_at(deadline):
                line = await inbox.get()
        except TimeoutError:
            return
        yield line


def _is_past(until: datetime | None) -> bool:
    return until is not None and datetime.now(UTC) > until + LATE


class AccessKeeper:
    """Stores lines of the access log, each with the service instance it belongs to.

    Where a stream can't be written, the lines are given again, maybe with more behind them: what other streams have of
    them already is remembered, so that it is not stored twice.
    """

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._kept: dict[UUID, int] = {}

    async def keep(self, entries: Sequence[Access], owners: Mapping[UUID, UUID]) -> None:
        """`owners`: workspace by service instance. Errors: `LogsUnavailable`."""
        by_instance: dict[UUID, list[Line]] = {}
        lines: list[Line] = []
        last: UUID | None = None
        for entry in entries:
            if entry.service_instance_id is not last:  # mostly it is the same one again
                last = entry.service_instance_id
                lines = by_instance.setdefault(last, []) if last is not None and last in owners else []
            if last is not None:
                lines.append(access_line(entry))
        for instance_id, lines in by_instance.items():
            fresh = lines[self._kept.get(instance_id, 0) :]
            await self._store.append(Stream(owners[instance_id], LogKind.HTTP, instance_id), fresh)
            self._kept[instance_id] = len(lines)
        self._kept.clear()


def access_line(entry: Access) -> Line:
    """A request as a log line: a sentence to read, and every field to search."""
    (
        at, instance_id, deployment_id, replica_id, request_id, method, host, path,
        status, total_ms, upstream_ms, sent, received, client, agent, ended,
    ) = entry  # fmt: skip
    code = _shown(status)
    attributes = {
        "service_instance_id": _shown(instance_id),
        "deployment_id": _shown(deployment_id),
        "request_id": request_id,
        "method": method,
        "host": host,
        "path": path,
        "status": code,
        "total_ms": total_ms,
        "upstream_ms": upstream_ms,
        "bytes_sent": sent,
        "bytes_received": received,
        "client": client,
        "user_agent": agent,
        "ended": ended,
    }
    if deployment_id is None:
        del attributes["deployment_id"]
    level = "error" if status >= 500 else "warn" if status >= 400 else "info"
    return Line(at, f"{method} {path} {code} {total_ms} ms", level, replica_id, attributes)


async def collect_garbage(database: Database, store: LogStore, *, is_trial: bool = False) -> list[Freed]:
    """Drop logs of what was deleted, then what is too old, then what is too much, of all workspaces; in a trial only tell.

    What is too old or too much goes without the database too. Errors: `LogsUnavailable`.
    """
    dropped = 0
    try:
        dropped = await _drop_all_unowned(database, store, is_trial=is_trial)
    finally:
        swept = await store.sweep(datetime.now(UTC), is_trial=is_trial)
    freed = [Freed("logs of what was deleted", dropped), Freed("logs beyond their age or size", 0, swept)]
    return [one for one in freed if one.count or one.size_bytes]


async def _drop_all_unowned(database: Database, store: LogStore, *, is_trial: bool) -> int:
    async with database.transaction() as tx:
        workspaces = [workspace.id for workspace in await identity.all_workspaces(tx)]
    dropped = 0
    for workspace_id in workspaces:
        with apart("the look for logs of what was deleted", workspace_id):
            dropped += await drop_unowned(database, store, workspace_id, is_trial=is_trial)
    return dropped


async def drop_unowned(database: Database, store: LogStore, workspace_id: UUID, *, is_trial: bool = False) -> int:
    """Drop the workspace's logs whose deployment or service instance is no longer on record; how many there were.

    May run at any time, and twice.
    """
    streams = await store.streams(workspace_id)  # first: what is written from now on is not looked at
    async with database.transaction(workspace_id) as tx:
        owners = await deployments.owners_of_logs(tx)
    nobodys = unowned(streams, owners)
    for stream in nobodys if not is_trial else ():
        await store.drop(stream)
    return len(nobodys)
