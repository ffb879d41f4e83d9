"""The edge beside a bare HAProxy: the same program and threads in front of the same app, without limits, log and rules."""

import asyncio
import http.client
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from trackside.adapters.proxy.options import HAProxyOptions
from trackside.command.bench_deployments import PORT, from_files
from trackside.command.bench_engine import container_of, until_answer
from trackside.command.bench_figures import percentile
from trackside.command.bench_platform import BenchFailed, Platform, free_port
from trackside.command.bench_traffic import Speed, middle, wrk
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.layout import system_layout
from trackside.host.process_table import cpu_of_tree

RATE, CONNECTIONS = 10_000, 50
"""Requests per second of the second measurement, and the connections that they come on."""
TICK = 10
"""Milliseconds between the moments at which a connection of `h2load` has requests to send. Connections begin spread over so many: people do
not all ask at once, and where they do it is the length of that one burst that would be measured.
"""
APP = {
    "Dockerfile": b"""FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
COPY app.cfg /app.cfg
USER 1000
CMD ["haproxy", "-db", "-f", "/app.cfg"]
""",
    "app.cfg": b"""defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend app
    bind :8080
    http-request return status 200 content-type text/plain string "An app that costs as little as one can."
""",
}
"""On one machine an app that takes its processors would be what is measured: it is full before either proxy is."""
LAST_LINE = {"kind": "http", "limit": 1, "newest": True}
WARM = 1.0
STEADY = 6.0
"""Seconds of one window at the fixed rate; what comes in the first `WARM` seconds is not counted."""
SETTLED = 3.0
"""Seconds without a new line after which the access log is taken for complete."""
BARE = """global
    nbthread {threads}
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend bare
    bind 127.0.0.1:{port}
    default_backend app
backend app
    server app {address}
"""


@dataclass(frozen=True)
class Flood:
    """Requests per second flat out, and the CPU seconds that HAProxy took for each request."""

    speed: Speed
    cpu: float


@dataclass(frozen=True)
class Steady:
    """One window at a fixed rate: the seconds within which 99 % were answered, how many were, and how many not well."""

    p99: float
    answered: int
    failed: int


@dataclass(frozen=True)
class Edge:
    """Medians of alternating windows. `*_p99`: seconds at 10,000 requests/s; `sent`: requests through the edge; `logged`: of these
    how many its access log has.
    """

    bare: Flood
    edge: Flood
    bare_p99: float
    edge_p99: float
    failed: int
    sent: int
    logged: int

    @property
    def ratio(self) -> float:
        return self.edge.speed.per_second / self.bare.speed.per_second

    @property
    def lost(self) -> int:
        """Requests that were answered and are in no line of the access log."""
        return max(0, self.sent - self.logged)

    @property
    def p99_ratio(self) -> float:
        return self.edge_p99 / self.bare_p99


@dataclass(frozen=True)
class Way:
    """One of the two ways to the app: the port that takes requests, and the process behind it."""

    port: int
    pid: int


async def edge(platform: Platform, windows: int) -> Edge:
    """Flat out, then at a fixed rate, in turns. Errors: `BenchFailed` where `wrk` or `h2load` is missing or a request fails."""
    attempt = await from_files(platform, "edge", APP)
    network = (await container_of(platform, attempt.deployment))["NetworkSettings"]["Networks"]
    host, before = await platform.host("edge"), await _logged(platform, attempt.deployment["id"])
    floods: tuple[list[Flood], list[Flood]] = ([], [])
    steady: tuple[list[Steady], list[Steady]] = ([], [])

    async def settled(floods: Sequence[Flood], steady: Sequence[Steady]) -> None:
        """Lines come behind requests: none of one window's is left to be taken over in the next, which may be bare HAProxy's."""
        await _until_logged(platform, attempt.deployment["id"], before, _sent(floods, steady))

    async with _bare(platform, f"{next(iter(network.values()))['IPAddress']}:{PORT}") as bare:
        ways = (bare, Way(platform.edge_port, platform.pid("haproxy")))
        for _ in range(windows):
            for way, found in zip(ways, floods, strict=True):
                found.append(await _flood(way, host))
            await settled(floods[1], [])
        for _ in range(windows):
            for way, told in zip(ways, steady, strict=True):
                told.append(await _at_rate(way, host))
            await settled(floods[1], steady[1])
    sent = _sent(floods[1], steady[1])
    bare_p99, edge_p99 = (median(one.p99 for one in told) for told in steady)
    return Edge(
        bare=_middle(floods[0]),
        edge=_middle(floods[1]),
        bare_p99=bare_p99,
        edge_p99=edge_p99,
        failed=sum(one.failed for told in steady for one in told),
        sent=sent,
        logged=await _until_logged(platform, attempt.deployment["id"], before, sent),
    )


def _sent(floods: Sequence[Flood], steady: Sequence[Steady]) -> int:
    return sum(flood.speed.requests for flood in floods) + sum(one.answered for one in steady)


def _middle(found: Sequence[Flood]) -> Flood:
    return Flood(middle([flood.speed for flood in found]), median(flood.cpu for flood in found))


@asynccontextmanager
async def _bare(platform: Platform, address: str) -> AsyncGenerator[Way]:
    """A HAProxy that does nothing but pass requests on, with as many threads as ours, and the same share of the processors."""
    layout = system_layout(platform.settings["installation"], Path(platform.status["data_dir"]))
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "haproxy.cfg"
        config.write_text(BARE.format(threads=HAProxyOptions.threads, port=port, address=address))
        process = await asyncio.create_subprocess_exec(
            HAProxyOptions.program, "-db", "-f", str(config), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            ControlGroups(system_hierarchies()).join(layout.serving_group, process.pid)
            await until_answer("127.0.0.1", port)
            yield Way(port, process.pid)
        finally:
            process.kill()
            await process.wait()


async def _flood(way: Way, host: str) -> Flood:
    before = cpu_of_tree(way.pid)
    speed = await wrk(f"http://127.0.0.1:{way.port}/", host)
    return Flood(speed, (cpu_of_tree(way.pid) - before) / speed.requests)


async def _at_rate(way: Way, host: str) -> Steady:
    """One window at the fixed rate, from a load generator that does not wait for answers before it sends more."""
    program = shutil.which("h2load")
    if program is None:
        raise BenchFailed("`h2load` is missing.", hint="Install it: `apt-get install nghttp2-client`.")
    with tempfile.NamedTemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *(program, "--h1", "-t", "1", "-c", str(CONNECTIONS), "--rps", str(RATE // CONNECTIONS)),
            *("--rate", str(CONNECTIONS // TICK), "--rate-period", "1ms"),
            *("-n", str(int(RATE * STEADY)), "--log-file", log.name, f"--header=:authority: {host}"),
            f"http://127.0.0.1:{way.port}/",
            stdout=asyncio.subprocess.DEVNULL,
        )
        await process.wait()
        return read_h2load(Path(log.name).read_text())


def read_h2load(text: str) -> Steady:
    """What `h2load --log-file` wrote: start in microseconds, status, microseconds until the answer's end. Pure."""
    rows = [[int(value) for value in line.split("\t")[:3]] for line in text.splitlines()]
    if not rows:
        raise BenchFailed("`h2load` wrote no figures.")
    begin = min(row[0] for row in rows) + WARM * 1e6
    waits = [row[2] / 1e6 for row in rows if row[0] >= begin]
    answered = sum(row[1] > 0 for row in rows)
    return Steady(percentile(waits, 0.99), answered, sum(row[1] != http.client.OK for row in rows))


async def _logged(platform: Platform, deployment_id: str) -> int:
    """How many lines the service's access log has had."""
    found = await platform.ask("GET", f"/deployments/{deployment_id}/logs", params=LAST_LINE)
    return found["lines"][-1]["seq"] if found["lines"] else 0


async def _until_logged(platform: Platform, deployment_id: str, before: int, sent: int) -> int:
    """How many lines came: as soon as all are there, or when no more come."""
    seen, changed = 0, time.monotonic()
    while seen < sent and time.monotonic() - changed < SETTLED:
        await asyncio.sleep(0.2)
        count = await _logged(platform, deployment_id) - before
        if count != seen:
            seen, changed = count, time.monotonic()
    return seen
