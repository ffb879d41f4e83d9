"""Use cases of telemetry: reading and following logs."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import UUID

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor, Permission
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import Deployment
from trackside.rooms.networking.model import Access
from trackside.rooms.telemetry.converge import Collector
from trackside.rooms.telemetry.model import Line, LogKind, Stream
from trackside.rooms.telemetry.ports import LogStore


async def stream_of(tx: Transaction, actor: Actor, deployment_id: UUID, kind: LogKind) -> tuple[Stream, Deployment]:
    """The stream with a deployment's log of a kind, where the actor may read it. HTTP logs belong to the service instance."""
    deployment = await deployments.read_deployment(tx, actor, deployment_id, Permission.LOG_READ)
    owner = deployment.service_instance_id if kind is LogKind.HTTP else deployment.id
    return Stream(tx.workspace, kind, owner), deployment


def build_log(store: LogStore, workspace_id: UUID, deployment_id: UUID) -> Callable[[str], Awaitable[None]]:
    """Takes the lines of a deployment's build."""
    stream = Stream(workspace_id, LogKind.BUILD, deployment_id)

    async def write(line: str) -> None:
        await store.append(stream, [Line(datetime.now(UTC), line)])

    return write


__all__ = ["Collector", "build_log", "follow_until", "keep_accesses", "stream_of"]

QUIET = 2.0
"""Seconds without a line after which a follower is given a sign of life."""


async def follow_until(
    store: LogStore, stream: Stream, after: int, is_over: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[Line | None]:
    """Lines as they come, and None as a sign of life, until `is_over` says so and nothing more comes."""
    lines = store.follow(stream, after=after)
    coming = asyncio.ensure_future(anext(lines))
    try:
        while True:
            over = await is_over()
            done, _ = await asyncio.wait({coming}, timeout=0.5 if over else QUIET)
            if done:
                yield coming.result()
                coming = asyncio.ensure_future(anext(lines))
            elif over:
                return
            else:
                yield None
    finally:
        coming.cancel()


async def keep_accesses(store: LogStore, entries: Sequence[Access], owners: Mapping[UUID, UUID]) -> None:
    """Store lines of the access log, each with the service instance it belongs to. `owners`: workspace by service instance."""
    by_instance: dict[UUID, list[Line]] = {}
    for entry in entries:
        if entry.service_instance_id is not None and entry.service_instance_id in owners:
            by_instance.setdefault(entry.service_instance_id, []).append(access_line(entry))
    for instance_id, lines in by_instance.items():
        await store.append(Stream(owners[instance_id], LogKind.HTTP, instance_id), lines)


def access_line(entry: Access) -> Line:
    """A request as a log line: a sentence to read, and every field to search."""
    level = "error" if entry.status >= 500 else "warn" if entry.status >= 400 else "info"
    apart = ("at", "replica_id")
    fields = {name: str(value) for name, value in asdict(entry).items() if value is not None and name not in apart}
    message = f"{entry.method} {entry.path} {entry.status} {entry.total_ms:.0f} ms"
    return Line(entry.at, message, level, entry.replica_id, fields)
