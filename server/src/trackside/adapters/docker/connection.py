"""Opening the container engine's API: one client per process, without a limit on connections.

Each followed log and each event stream holds a connection for its whole life, so the usual limit of 100 would stop the
101st replica from ever being started or seen.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import aiohttp
from aiodocker import Docker

CONNECT_SECONDS = 5.0
CALL_SECONDS = 120.0
ANSWER_SECONDS = 20.0
"""For what the engine answers from memory: one that is slow answers within it, one that hangs is known to after it."""
STALL_SECONDS = 600.0
"""Of silence while an image is moved, the unpacking of a large one on a slow disk included."""


class Engine(Docker):
    """The engine's API client. Needs a running event loop when it is made; `close` it there.

    Calls end with `TimeoutError` after `CALL_SECONDS` (an engine that hangs must not hang its callers); streams set a
    limit of their own, or none.
    """

    def __init__(self, url: str) -> None:
        self._own_connector = connector(url)
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        super().__init__(url=url, connector=self._own_connector, timeout=timeout)
        if url.startswith("unix://"):
            self.docker_host = "unix://localhost"  # the address is the connector's; URLs need some host name

    async def close(self) -> None:
        await super().close()
        await self._own_connector.close()


def connector(url: str) -> aiohttp.BaseConnector:
    """What connects to `unix:///path` or `tcp://host:port`, with any number of connections at once."""
    if url.startswith("unix://"):
        return aiohttp.UnixConnector(url.removeprefix("unix://"), limit=0)
    return aiohttp.TCPConnector(limit=0)


@asynccontextmanager
async def presence(engine: Engine) -> AsyncGenerator[asyncio.Future[None]]:
    """A future that is done as soon as the engine has gone away, even if another stands in its place a moment later.

    The engine tells nowhere since when it runs; a connection that is held open ends with it. Errors: `DockerError` where it is away.
    """
    nothing = {"filters": json.dumps({"event": ["none"]})}
    endless = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS)
    async with engine._query("events", params=nothing, timeout=endless) as answer:  # pyright: ignore[reportPrivateUsage]
        gone = asyncio.ensure_future(_end_of(answer))
        try:
            yield gone
        finally:
            gone.cancel()
            await asyncio.wait({gone})
            answer.close()


async def _end_of(answer: aiohttp.ClientResponse) -> None:
    with suppress(aiohttp.ClientError, OSError):
        async for _ in answer.content.iter_any():
            pass


class LazyEngine:
    """An engine opened at first use, so that what holds it can be made before the event loop runs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None

    @property
    def client(self) -> Engine:
        if self._engine is None:
            self._engine = Engine(self._url)
        return self._engine

    async def close(self) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.close()
