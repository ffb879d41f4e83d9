"""A load generator of our own: requests at a fixed rate over raw sockets, each with its start, its answer or failure.

Open loop: a slow answer does not slow the next request down. With `keep_alive`, connections are used again; one that
ends before the first byte of an answer is a failure here, though a browser would quietly try once more.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Target:
    """Where to send what. `host` is the Host header, `address` and `port` are where the edge listens."""

    host: str
    port: int
    address: str = "127.0.0.1"
    path: str = "/"
    method: str = "GET"
    body: bytes = b""


@dataclass
class Outcome:
    """One request. Times are `time.monotonic()` seconds; without an answer `status` is 0 and `failure` says why."""

    started: float
    ended: float = 0.0
    status: int = 0
    body: bytes = b""
    failure: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300 and not self.failure


class Load:
    """Sends `rate` requests per second from `start` to `stop`; `outcomes` holds those that have ended."""

    def __init__(self, target: Target, rate: float, *, keep_alive: bool = True, timeout: float = 30.0) -> None:
        self._target = target
        self._rate = rate
        self._keep_alive = keep_alive
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._open: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self.outcomes: list[Outcome] = []

    async def __aenter__(self) -> "Load":
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Start no more requests and wait for those that are open."""
        if self._ticker:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None
        await asyncio.gather(*self._open)
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _tick(self) -> None:
        begin, sent = time.monotonic(), 0
        while True:
            while sent < (time.monotonic() - begin) * self._rate:
                task = asyncio.create_task(self._one())
                self._open.add(task)
                task.add_done_callback(self._open.discard)
                sent += 1
            await asyncio.sleep(0.5 / self._rate)

    async def _one(self) -> None:
        outcome = Outcome(time.monotonic())
        try:
            async with asyncio.timeout(self._timeout):
                await self._exchange(outcome)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            outcome.failure = f"{type(error).__name__}: {error}"
        outcome.ended = time.monotonic()
        self.outcomes.append(outcome)

    async def _exchange(self, outcome: Outcome) -> None:
        connection = self._idle.pop() if self._idle else None
        if connection and connection[0].at_eof():
            connection[1].close()
            connection = None
        if connection is None:
            connection = await asyncio.open_connection(self._target.address, self._target.port)
        try:
            kept = await request(connection, self._target, outcome, keep_alive=self._keep_alive)
        except BaseException:
            connection[1].close()
            raise
        if kept:
            self._idle.append(connection)
        else:
            connection[1].close()

    # --- looking back ---

    @property
    def failures(self) -> list[Outcome]:
        """Requests without an answer, and those answered with anything but 2xx."""
        return [outcome for outcome in self.outcomes if not outcome.is_ok]

    def bodies(self, where: Callable[[Outcome], bool] = lambda _: True) -> Counter[bytes]:
        """How often each body was answered, among the outcomes that `where` picks."""
        return Counter(outcome.body for outcome in self.outcomes if where(outcome))

    def summary(self) -> str:
        """For a failing assertion: numbers, and the first failures."""
        first = [(o.failure or f"HTTP {o.status} {o.body[:60]!r}") for o in self.failures[:5]]
        return f"{len(self.outcomes)} requests, {len(self.failures)} failed: {first}"


async def fetch(target: Target, headers: dict[str, str] | None = None, timeout: float = 30.0) -> Outcome:
    """One request on a connection of its own. Errors: OSError, EOFError, ValueError, TimeoutError."""
    outcome = Outcome(time.monotonic())
    async with asyncio.timeout(timeout):
        connection = await asyncio.open_connection(target.address, target.port)
        try:
            await request(connection, target, outcome, keep_alive=False, headers=headers)
        finally:
            connection[1].close()
    outcome.ended = time.monotonic()
    return outcome


async def request(
    connection: Connection,
    target: Target,
    outcome: Outcome,
    *,
    keep_alive: bool,
    headers: dict[str, str] | None = None,
) -> bool:
    """Send a request and read its answer into `outcome`; whether the connection can be used again."""
    reader, writer = connection
    lines = {"Host": target.host, "Connection": "keep-alive" if keep_alive else "close"} | (headers or {})
    if target.body or target.method in ("POST", "PUT", "PATCH"):
        lines["Content-Length"] = str(len(target.body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{target.method} {target.path} HTTP/1.1\r\n{head}\r\n".encode() + target.body)
    await writer.drain()
    status_line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    outcome.status = int(status_line.split(" ", 2)[1])
    outcome.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
    outcome.body = await _read_body(reader, outcome, target.method)
    return keep_alive and outcome.headers.get("connection", "").lower() != "close"


async def _read_body(reader: asyncio.StreamReader, outcome: Outcome, method: str) -> bytes:
    if method == "HEAD" or outcome.status in (204, 304):
        return b""
    if "content-length" in outcome.headers:
        return await reader.readexactly(int(outcome.headers["content-length"]))
    if outcome.headers.get("transfer-encoding") != "chunked":
        return await reader.read(-1)
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body
