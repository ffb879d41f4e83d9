"""The monitor: collects what containers log, and drops the logs that nobody keeps."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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


async def run(process: MonitorProcess) -> None:
    """Work until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(process.collector.run())
        group.create_task(forever("garbage", lambda: collecting("logs", process.collect_garbage), AGAIN))
