"""Leases: names held by a process for as long as it lives.

They are advisory locks of one connection to the database, so whatever a process held that was killed is free at once, without
a heartbeat that could be late or a record that could be wrong.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog

log = structlog.get_logger()
CHECK = 1.0
"""Seconds between looks whether the connection, and with it what it holds, is still there. It is asked, for a connection on which
nothing is under way does not tell that its server is gone."""
PATIENCE = 10.0
"""Seconds for which a name is waited for until that is told, and it is tried again."""
# A machine that vanished without a word must not hold its names for hours.
_KEEPALIVE = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"


class Leases:
    """What one connection holds. Errors: `psycopg.Error` where the connection, and so every lease of it, is lost."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def take(self, name: str) -> None:
        """Hold the name; waits until nobody else does, with a line in the log for each time that takes long."""
        while True:
            try:
                await self._connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
            except psycopg.errors.LockNotAvailable:
                log.warning("a lease is held by another for long", lease=name)
            else:
                return

    async def try_take(self, name: str) -> bool:
        """Hold the name, unless somebody does; whether it is held now."""
        found = await self._connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name])
        row = await found.fetchone()
        return bool(row and row[0])

    async def give_up(self, name: str) -> None:
        """No longer hold the name."""
        await self._connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])

    async def until_lost(self) -> None:
        """Return only by an error: when what is held is no longer held."""
        while True:
            await asyncio.sleep(CHECK)
            await self._connection.execute("SELECT 1")


@asynccontextmanager
async def open_leases(database_url: str, *, patience: float = PATIENCE) -> AsyncGenerator[Leases]:
    """Leases that end with the block. `database_url`: `postgresql://…`, without a pooler in between; `patience`: seconds."""
    options = f"{_KEEPALIVE} -c lock_timeout={int(patience * 1000)}"
    connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True, options=options)
    async with connection:
        yield Leases(connection)
