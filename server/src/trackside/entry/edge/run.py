"""Runs the edge process until it is told to stop."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

Work = Callable[[], Coroutine[None, None, None]]


@dataclass(frozen=True)
class EdgeProcess:
    """What runs (`keep` the edge true) until it is cancelled, and how it is put away."""

    keep: Work
    stop: Work


async def run(process: EdgeProcess, stopping: asyncio.Event | None = None) -> None:
    """Run until SIGTERM, SIGINT or `stopping`. HAProxy serves on; the next edge process goes on where this one ends."""
    stopping = stopping or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    log.info("edge.started")
    try:
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(process.keep())
            await stopping.wait()
            keeping.cancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await process.stop()
        log.info("edge.stopped")
