"""Use cases of telemetry: reading and following logs."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor, Permission
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import Deployment
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


__all__ = ["Collector", "build_log", "follow_until", "stream_of"]

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
