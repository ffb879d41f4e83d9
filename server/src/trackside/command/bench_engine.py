"""The physical floor: the same container made, started, asked and stopped directly on the engine, without the platform."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx

from trackside.command.bench_platform import BenchFailed, Platform
from trackside.kit.ids import new_id

NOT_COPIED = ("dev.trackside.",)
FREE_HOST = 250
"""Last number of the address the floor's container takes; the bench's own environment gives addresses from below."""


@dataclass(frozen=True)
class Floor:
    """Seconds of one container's life: until the engine had it, had started it, it answered, it had ended, it was removed."""

    create: float
    start: float
    answer: float
    stop: float
    remove: float


async def call(engine: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """One call of the engine. Errors: `BenchFailed`."""
    answer = await engine.request(method, path, **options)
    if answer.is_error:
        raise BenchFailed(f"The engine answered {method} {path} with {answer.status_code}: {answer.text[:300]}")
    return answer


async def container_of(platform: Platform, deployment: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's record of a deployment's first replica."""
    label = f"dev.trackside.replica={deployment['replicas'][0]['id']}"
    filters = json.dumps({"label": [label]})
    found = (await call(platform.engine, "GET", "/containers/json", params={"filters": filters})).json()
    return (await call(platform.engine, "GET", f"/containers/{found[0]['Id']}/json")).json()


def order_like(container: Mapping[str, Any]) -> dict[str, Any]:
    """An order for the same container at another address, without the labels by which the platform knows its own. Pure."""
    config, host = container["Config"], container["HostConfig"]
    ((network, attachment),) = container["NetworkSettings"]["Networks"].items()
    address = attachment["IPAddress"].rpartition(".")[0] + f".{FREE_HOST}"
    given: dict[str, str] = config["Labels"] or {}
    labels = {name: value for name, value in given.items() if not name.startswith(NOT_COPIED)}
    kept = {
        k: config[k]
        for k in ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Image", "Healthcheck")
        if config.get(k)
    }
    return {
        **kept,
        "Labels": labels,
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": address}}}},
    }


async def live_once(platform: Platform, container: Mapping[str, Any], port: int) -> Floor:
    """One life of the same container on the engine alone."""
    engine, order = platform.engine, order_like(container)
    marks = [time.perf_counter()]
    name = f"trackside-bench-{new_id().hex[-12:]}"
    made = (await call(engine, "POST", "/containers/create", params={"name": name}, json=order)).json()["Id"]
    try:
        marks.append(time.perf_counter())
        await call(engine, "POST", f"/containers/{made}/start")
        marks.append(time.perf_counter())
        (attachment,) = order["NetworkingConfig"]["EndpointsConfig"].values()
        await until_answer(attachment["IPAMConfig"]["IPv4Address"], port)
        marks.append(time.perf_counter())
        await call(engine, "POST", f"/containers/{made}/kill", params={"signal": "TERM"})
        await call(engine, "POST", f"/containers/{made}/wait")
        marks.append(time.perf_counter())
    finally:
        await call(engine, "DELETE", f"/containers/{made}", params={"force": "true"})
    marks.append(time.perf_counter())
    return Floor(*(later - earlier for earlier, later in pairwise(marks)))


async def until_answer(address: str, port: int) -> None:
    """Until the app's first answer that is no error, asked every 2 ms."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if await _answers(address, port):
            return
        await asyncio.sleep(0.002)
    raise BenchFailed(f"The app at {address}:{port} never answered.")


async def _answers(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        return status[9:10] in (b"2", b"3")
    except OSError:
        return False
    finally:
        writer.close()


async def marks_of(platform: Platform, since: datetime, until: datetime) -> list[tuple[datetime, str]]:
    """What the engine did with the containers of the bench's project between two times."""
    filters = {"type": ["container"], "label": [f"dev.trackside.project={platform.project}"]}
    params = {"since": _stamp(since), "until": _stamp(until), "filters": json.dumps(filters)}
    answer = await call(platform.engine, "GET", "/events", params=params)
    events = [json.loads(line) for line in answer.text.splitlines() if line.strip()]
    wanted = {"create": "created", "start": "started", "kill": "signalled", "die": "ended", "destroy": "removed"}
    return [
        (datetime.fromtimestamp(event["timeNano"] / 1e9, UTC), f"engine: container {wanted[event['Action']]}")
        for event in events
        if event["Action"] in wanted
    ]


def _stamp(at: datetime) -> str:
    return f"{at.timestamp():.9f}"
