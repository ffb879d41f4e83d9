"""The monitor: collects what containers log, takes over the access log, and drops the logs that nobody keeps."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

from trackside.entry.worker.collecting import AGAIN, collecting
from trackside.entry.worker.nudges import forever
from trackside.kit.garbage import Freed
from trackside.rooms.telemetry.service import Collector


@dataclass(frozen=True)
class MonitorProcess:
    """What the process works with."""

    collector: Collector
    collect_garbage: Callable[[], Awaitable[Sequence[Freed]]]
    read_access_log: Callable[[], Coroutine[None, None, None]]


async def run(process: MonitorProcess) -> None:
    """Work until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(process.collector.run())
        group.create_task(process.read_access_log())
        group.create_task(forever("garbage", lambda: collecting("logs", process.collect_garbage), AGAIN))
