"""A crowd of deployments asked for at once: that all of them end well, and that the API answers meanwhile."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from trackside.command.bench_deployments import from_source, site
from trackside.command.bench_figures import percentile
from trackside.command.bench_platform import OVER, PATIENCE, BenchFailed, Platform

CROWD = 100
BUILDS = 4
"""How many of them are built from a source of their own; the others deploy an image that is there."""
RATE = 20.0
"""GET requests per second meanwhile."""
LOOK = 1.0


@dataclass(frozen=True)
class Crowd:
    """What became of them. Times in seconds since the first request; `answers` are those of the API meanwhile.

    `ended`: how many ended how. `waiting`: the most that were told as waiting at once, before they were begun.
    """

    asked: int
    ended: Mapping[str, int]
    accepted: float
    first: float
    last: float
    waiting: int
    answers: Sequence[float]
    unanswered: int

    @property
    def p95(self) -> float:
        return percentile(self.answers, 0.95)


async def crowd(platform: Platform, size: int = CROWD) -> Crowd:
    """Ask for all at once and look until none is under way. Errors: `BenchFailed` where that takes too long."""
    built = await from_source(platform, "crowd", 0)
    image = {"kind": "image", "reference": built.deployment["image_id"]}
    names = [f"crowd-{number:03}" for number in range(size)]
    sources: list[Mapping[str, Any]] = [image] * size
    for number in range(min(BUILDS, size)):
        sources[number] = await platform.upload(names[number], site(1000 + number))
    for name in names:
        await platform.instance(name)
    paths = [f"/v1/projects/{platform.project}", f"/v1/deployments/{built.deployment['id']}", "/v1/projects"]
    async with polling(platform, paths) as answers:
        began = time.monotonic()
        pairs = zip(names, sources, strict=True)
        requested = await asyncio.gather(*(platform.request(name, source) for name, source in pairs))
        accepted = time.monotonic() - began
        wanted = {deployment["id"] for _, deployment in requested}
        ended, first, waiting = await _until_over(platform, wanted, began)
        last = time.monotonic() - began
    told = [answer for answer in answers if answer is not None]
    return Crowd(size, ended, accepted, first, last, waiting, told, len(answers) - len(told))


async def _until_over(platform: Platform, wanted: set[str], began: float) -> tuple[Mapping[str, int], float, int]:
    """How all ended, when the first had, and the most that waited at once."""
    first, waiting = 0.0, 0
    while time.monotonic() - began < PATIENCE:
        found = await _statuses(platform)
        present = Counter(found.get(deployment_id, "LOST") for deployment_id in wanted)
        waiting = max(waiting, present["INITIALIZING"] + present["QUEUED"])
        is_over = sum(present[status] for status in (*OVER, "LOST"))
        if is_over and not first:
            first = time.monotonic() - began
        if is_over == len(wanted):
            return present, first, waiting
        await asyncio.sleep(LOOK)
    raise BenchFailed(f"Of {len(wanted)} deployments not all had ended after {PATIENCE:g} s.")


async def _statuses(platform: Platform) -> Mapping[str, str]:
    """The status of each service instance's newest deployment."""
    project = await platform.ask("GET", f"/projects/{platform.project}")
    instances = (instance for environment in project["environments"] for instance in environment["service_instances"])
    newest = (instance["latest_deployment"] for instance in instances if instance["latest_deployment"])
    return {deployment["id"]: deployment["status"] for deployment in newest}


@asynccontextmanager
async def polling(platform: Platform, paths: Sequence[str]) -> AsyncGenerator[list[float | None]]:
    """Requests at a fixed rate meanwhile; afterwards the list holds the seconds of each answer."""
    url = urlsplit(str(platform.api.base_url))
    headers = {"Authorization": platform.api.headers["Authorization"]}
    order = {"host": url.hostname, "port": url.port, "paths": paths, "headers": headers, "rate": RATE}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trackside.command.bench_poll"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    found: list[float | None] = []
    process.stdin.write(json.dumps(order).encode() + b"\n")
    await process.stdin.drain()
    try:
        yield found
    finally:
        process.stdin.close()  # which is how it is told to end
        output, _ = await process.communicate()
    found += json.loads(output)
