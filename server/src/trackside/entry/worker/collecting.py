"""Collecting garbage by a timer: what a lost job would have removed goes a little later."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import structlog

from trackside.kit.garbage import Freed

log = structlog.get_logger()
EVERY = 600.0
"""Seconds between two collections."""
AGAIN = 60.0
"""Seconds after one that broke off: what it asks may be down for a while."""


async def collecting(where: str, collect: Callable[[], Awaitable[Sequence[Freed]]]) -> AsyncIterator[None]:
    """Collect now and again and again, with a line in the log for each kind of thing that went."""
    while True:
        for freed in await collect():
            log.info("garbage was removed", where=where, what=freed.kind, count=freed.count, bytes=freed.size_bytes)
        yield
        await asyncio.sleep(EVERY)
