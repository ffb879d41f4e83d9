"""Traffic measured: through the edge beside the app alone, and an app's answers while a build uses all it may."""

import asyncio
import re
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from uuid import UUID

from trackside.command.bench_deployments import PORT, from_source
from trackside.command.bench_engine import container_of
from trackside.command.bench_figures import percentile
from trackside.command.bench_platform import BenchFailed, Platform
from trackside.kit.ids import new_id

WINDOW = 6.0
"""Seconds of one measurement."""
CONNECTIONS = 32
RATE = 200.0
"""Requests per second to the neighbour of a build: as many as the tests send through a deployment."""
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Condition = Callable[[], Awaitable[bool]]
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Speed:
    """Requests per second, the seconds within which half and 99 % of them were answered, and how many there were."""

    per_second: float
    p50: float
    p99: float
    requests: int


@dataclass(frozen=True)
class Traffic:
    """Through the edge, and straight to the container: medians of alternating windows."""

    edge: Speed
    app: Speed

    @property
    def ratio(self) -> float:
        return self.edge.per_second / self.app.per_second


@dataclass(frozen=True)
class Neighbour:
    """p95 in seconds of an app's answers, window by window: in peace, and beside a build; `failed` requests of all.

    `beside_idle` is the floor: beside one process that spins on one processor and yields to everything, outside the platform.
    What that costs is the machine's, and no limit on builds takes it away.
    """

    quiet: Sequence[float]
    beside_build: Sequence[float]
    beside_idle: Sequence[float]
    failed: int

    @property
    def ratio(self) -> float:
        return median(self.beside_build) / median(self.quiet)

    @property
    def floor(self) -> float:
        return median(self.beside_idle) / median(self.quiet)


# --- through the edge ---


async def traffic(platform: Platform, windows: int) -> Traffic:
    """As many requests as the edge, and the app itself, can answer. Errors: `BenchFailed` where `wrk` is missing."""
    attempt = await from_source(platform, "traffic", 0)
    network = (await container_of(platform, attempt.deployment))["NetworkSettings"]["Networks"]
    address = next(iter(network.values()))["IPAddress"]
    host = await platform.host("traffic")
    edge: list[Speed] = []
    app: list[Speed] = []
    for _ in range(windows):
        app.append(await wrk(f"http://{address}:{PORT}/", host))
        edge.append(await wrk(f"http://127.0.0.1:{platform.edge_port}/", host))
    return Traffic(middle(edge), middle(app))


async def wrk(url: str, host: str) -> Speed:
    """One window of `wrk`. Errors: `BenchFailed` where it is missing."""
    program = shutil.which("wrk")
    if program is None:
        raise BenchFailed(
            "`wrk` is missing.", hint="Install it: `apt-get install wrk`; or leave out traffic with `--only`."
        )
    process = await asyncio.create_subprocess_exec(
        *(program, "-t", "1", "-c", str(CONNECTIONS), "-d", f"{WINDOW:.0f}s", "--latency", "-H", f"Host: {host}", url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return read_wrk(output.decode())


def read_wrk(text: str) -> Speed:
    """What `wrk --latency` printed. Pure. Errors: `BenchFailed` where requests failed or nothing was measured."""
    if failed := re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: .*", text):
        raise BenchFailed(f"Not every request was answered well: {failed[0]}.")
    latency = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", text, re.MULTILINE))
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", text, re.MULTILINE)
    count = re.search(r"^\s+(\d+) requests in ", text, re.MULTILINE)
    if rate is None or count is None or len(latency) < 2:
        raise BenchFailed("`wrk` printed no figures.")
    return Speed(float(rate[1]), _seconds(latency["50"]), _seconds(latency["99"]), int(count[1]))


def _seconds(text: str) -> float:
    number = text.rstrip("ums")
    return float(number) * UNITS[text[len(number) :]]


def middle(found: Sequence[Speed]) -> Speed:
    """The median of each figure, and all requests."""
    return Speed(
        median(s.per_second for s in found),
        median(s.p50 for s in found),
        median(s.p99 for s in found),
        sum(s.requests for s in found),
    )


# --- beside a build ---


async def neighbour(platform: Platform, windows: int) -> Neighbour:
    """The same rate of requests in peace, beside a build that takes what it gets, and beside a spinning process, in turns."""
    await from_source(platform, "neighbour", 0)
    host = await platform.host("neighbour")
    quiet: list[float] = []
    beside_build: list[float] = []
    beside_idle: list[float] = []
    failed = 0

    async def window(into: list[float]) -> None:
        nonlocal failed
        answers = await requests_for(WINDOW, platform.edge_port, host)
        into.append(percentile(answers.seconds, 0.95))
        failed += answers.failed

    for _ in range(windows):
        await window(quiet)
        async with BusyBuild(platform):
            await window(beside_build)
        async with spinning():
            await window(beside_idle)
    return Neighbour(quiet, beside_build, beside_idle, failed)


SPIN = """import os
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
while True: pass
"""


@asynccontextmanager
async def spinning() -> AsyncGenerator[None]:
    """A process that takes what is left of the last processor."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SPIN)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def busy_dockerfile(mark: UUID) -> str:
    """A build that uses processors and disk as much as it may, until it is cancelled. `mark` keeps it out of the cache."""
    processors = "for n in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done"
    disk = "while :; do dd if=/dev/zero of=/load bs=1M count=256 conv=fsync 2>/dev/null; done"
    return f"FROM debian:bookworm-slim\nENV MARK={mark}\nRUN {processors}; echo burning; {disk}\n"


class BusyBuild:
    """Such a build, from when it burns until it has ended."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._deployment = ""

    async def __aenter__(self) -> None:
        files = {"Dockerfile": busy_dockerfile(new_id()).encode()}
        _, requested = await self._platform.request("builder", await self._platform.upload("builder", files))
        self._deployment = requested["id"]
        await self._until(self._burns)

    async def __aexit__(self, *_: object) -> None:
        await self._platform.ask("POST", f"/deployments/{self._deployment}/cancel")
        await self._until(self._is_over)

    async def _burns(self) -> bool:
        found = await self._platform.ask("GET", f"/deployments/{self._deployment}/logs", params={"kind": "build"})
        return any(line["message"].endswith("burning") for line in found["lines"] if "RUN" not in line["message"])

    async def _is_over(self) -> bool:
        found = await self._platform.ask("GET", f"/deployments/{self._deployment}")
        return found["ended_at"] is not None

    async def _until(self, condition: Condition) -> None:
        deadline = time.monotonic() + 300
        while not await condition():
            if time.monotonic() > deadline:
                raise BenchFailed(f"The busy build of the bench ({self._deployment}) neither burns nor ends.")
            await asyncio.sleep(0.1)


@dataclass
class Answers:
    """Seconds of every answer, and how many requests failed."""

    seconds: list[float] = field(default_factory=list[float])
    failed: int = 0


async def requests_for(seconds: float, port: int, host: str) -> Answers:
    """Requests at a fixed rate: a slow answer does not slow the next request down, and its wait is counted whole."""
    answers = Answers()
    idle: list[Connection] = []
    begin = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * RATE)):
            due = begin + number / RATE
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            group.create_task(_one(answers, idle, port, host, due))
    for _, writer in idle:
        writer.close()
    return answers


async def _one(answers: Answers, idle: list[Connection], port: int, host: str, due: float) -> None:
    try:
        async with asyncio.timeout(10):
            connection = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            await _exchange(connection, host)
    except (OSError, EOFError, ValueError, TimeoutError):
        answers.failed += 1
        return
    idle.append(connection)
    answers.seconds.append(asyncio.get_running_loop().time() - due)


async def _exchange(connection: Connection, host: str) -> None:
    reader, writer = connection
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    if head[9:12] != "200":
        raise ValueError(head[:12])
    length = re.search(r"^content-length: (\d+)", head, re.IGNORECASE | re.MULTILINE)
    await reader.readexactly(int(length[1]) if length else 0)
