"""Runs the parts of the edge process side by side, until it is told to stop."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

Work = Callable[[], Coroutine[None, None, None]]


@dataclass(frozen=True)
class EdgeProcess:
    """What runs (`keep` the edge true, read the access log) and how it is put away. Each runs until it is cancelled."""

    keep: Work
    read_access_log: Work
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
            works = [group.create_task(work()) for work in (process.keep, process.read_access_log)]
            await stopping.wait()
            for work in works:
                work.cancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await process.stop()
        log.info("edge.stopped")
