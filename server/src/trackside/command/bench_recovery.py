"""How soon each process does its work again after it was killed, with everything else left as it is."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from trackside.command.bench_deployments import PORT, from_source, site
from trackside.command.bench_engine import container_of, live_once
from trackside.command.bench_platform import Attempt, BenchFailed, Platform, engine_client, host_command, moment
from trackside.kit.ids import new_id

PATIENCE = 60.0
LOOK = 0.02
CALM = 1.0
"""Seconds between two victims: nobody dies while the last one's work is taken up."""
SPEAKER = "FROM debian:bookworm-slim\nCMD while :; do date; sleep 0.05; done\n"
Works = Callable[[], Awaitable[bool]]
Probe = Callable[["Scene"], Awaitable[Works]]


@dataclass(frozen=True)
class Recovery:
    """Seconds from SIGKILL until the process did its work again, by process; None: not within a minute."""

    seconds: dict[str, float | None]


@dataclass(frozen=True)
class Scene:
    """What runs while the processes die: an app that answers, one that writes a line every 50 ms."""

    platform: Platform
    app: Attempt
    host: str
    speaker: str
    container: Mapping[str, Any]


async def recovery(platform: Platform) -> Recovery:
    """Kill one after the other, each when all is well again."""
    app = await from_source(platform, "survivor", 0)
    source = await platform.upload("speaker", {"Dockerfile": SPEAKER.encode()})
    speaker = await platform.deploy("speaker", source)
    container = await container_of(platform, app.deployment)
    scene = Scene(platform, app, await platform.host("survivor"), speaker.deployment["id"], container)
    found: dict[str, float | None] = {}
    present = {process["name"] for process in platform.status["processes"]}
    for name, probe in PROBES.items():
        if name not in present:
            continue
        found[name] = await _kill(scene, name, probe)
        await asyncio.sleep(CALM)
    return Recovery(found)


async def _kill(scene: Scene, name: str, probe: Probe) -> float | None:
    pid = await _pid(scene.platform, name)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    works = await probe(scene)
    while time.monotonic() - began < PATIENCE:
        with suppress(httpx.HTTPError, BenchFailed, OSError):
            if await works():
                return time.monotonic() - began
        await asyncio.sleep(LOOK)
    return None


async def _pid(platform: Platform, name: str) -> int:
    """The present pid. Errors: `StopIteration` where there is no such process."""
    return next(found["pid"] for found in (await _status(platform))["processes"] if found["name"] == name)


async def _status(platform: Platform) -> dict[str, Any]:
    return json.loads(await host_command(platform.environment, "server", "status", "--json"))


# --- what each does, when it works ---


async def _answers(scene: Scene) -> Works:
    """The API answers, out of the database."""

    async def works() -> bool:
        return bool(await scene.platform.ask("GET", f"/projects/{scene.platform.project}"))

    return works


async def _converges(scene: Scene) -> Works:
    """A deployment asked for now gets its first container."""
    image = {"kind": "image", "reference": scene.app.deployment["image_id"]}
    return await _has_step(scene, "survivor", image, "CREATE_CONTAINER")


async def _swaps(scene: Scene) -> Works:
    """A deployment asked for now is verified, and gets the traffic."""
    image = {"kind": "image", "reference": scene.app.deployment["image_id"]}
    return await _has_step(scene, "survivor", image, "CONFIGURE_NETWORK")


async def _builds(scene: Scene) -> Works:
    """A build asked for now begins."""
    files = {**site(0), "public/mark.html": str(new_id()).encode()}
    return await _has_step(scene, "survivor", await scene.platform.upload("survivor", files), "BUILD_IMAGE")


async def _has_step(scene: Scene, service: str, source: dict[str, Any], step: str) -> Works:
    _, requested = await scene.platform.request(service, source)

    async def works() -> bool:
        found = await scene.platform.ask("GET", f"/deployments/{requested['id']}")
        return any(one["name"] == step for one in found["steps"])

    return works


async def _collects(scene: Scene) -> Works:
    """A line that was written after the kill can be read."""
    since = datetime.now(UTC)

    async def works() -> bool:
        path = f"/deployments/{scene.speaker}/logs"
        found = await scene.platform.ask("GET", path, params={"limit": 1, "newest": True})
        return bool(found["lines"]) and moment(found["lines"][-1]["at"]) > since

    return works


async def _serves(scene: Scene) -> Works:
    """A request through the edge is answered."""

    async def works() -> bool:
        return (await _visit(scene)).is_success

    return works


async def _visit(scene: Scene) -> httpx.Response:
    async with httpx.AsyncClient(base_url=scene.platform.status["edge_url"], trust_env=False, timeout=2) as visitor:
        return await visitor.get("/", headers={"Host": scene.host})


async def _runs_containers(scene: Scene) -> Works:
    """The engine makes and starts a container, and the app in it answers."""

    async def works() -> bool:
        await live_once(scene.platform, scene.container, PORT)
        return True

    return works


async def _engine_for_builds(scene: Scene) -> Works:
    """The engine for builds answers."""

    async def works() -> bool:
        async with engine_client(scene.platform.settings["build_engine_url"]) as engine:
            return (await engine.get("/_ping")).is_success

    return works


async def _supervises(scene: Scene) -> Works:
    """A supervisor runs again, and with it all that it keeps."""

    async def works() -> bool:
        found = (await _status(scene.platform))["processes"]
        return bool(found) and all(process["state"] == "RUNNING" for process in found)

    return works


PROBES: dict[str, Probe] = {
    "gateway": _answers,
    "deployer": _converges,
    "builder": _builds,
    "monitor": _collects,
    "edge": _swaps,
    "haproxy": _serves,
    "postgres": _answers,
    "engine": _runs_containers,
    "containerd": _runs_containers,
    "build-engine": _engine_for_builds,
    "supervisor": _supervises,
    "watcher": _supervises,
    "watchdog": _supervises,
}
