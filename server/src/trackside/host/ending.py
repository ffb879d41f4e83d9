"""Ends processes: asked first, by force where that takes too long."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from trackside.host.layout import Layout
from trackside.host.process_table import Process, read_process

TERMINATION_SECONDS = 15


async def end(find: Callable[[], Sequence[Process]], layout: Layout) -> None:
    """End what is found, by force where it takes too long. PostgreSQL's signal for a quick, clean end is INT."""
    for process in find():
        is_postgres = str(layout.postgres_data) in process.command
        _send(process, signal.SIGINT if is_postgres else signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(TERMINATION_SECONDS):
            while find():
                await asyncio.sleep(0.05)
    for process in find():
        _send(process, signal.SIGKILL)


def _send(process: Process, which: signal.Signals) -> None:
    """To this very process: its number may have been given to another one meanwhile."""
    now = read_process(process.pid)
    if now and now.started == process.started:
        with suppress(ProcessLookupError):
            os.kill(process.pid, which)
