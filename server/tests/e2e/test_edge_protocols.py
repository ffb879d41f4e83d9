"""What passes the edge of a running platform: WebSocket, server-sent events, gRPC; what the app is told; the access log."""

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import httpx
import pytest
import websockets

from e2e.conftest import APPS, CHECKOUT, Service, Trackside, until
from edge.load import fetch

GRPC = APPS / "grpc"


@pytest.fixture(scope="module")
def notes(trackside: Trackside) -> Iterator[Service]:
    """The FastAPI example: it speaks WebSocket and sends events."""
    project = f"protocols-{uuid4().hex[:8]}"
    service = trackside.service(project, "notes")
    service.up(CHECKOUT / "examples" / "02-fastapi")
    yield service
    trackside.cli.run("project", "delete", project, "--yes")


async def test_a_websocket_passes_in_both_directions(notes: Service) -> None:
    connecting = websockets.connect(f"ws://{notes.host}/echo", host="127.0.0.1", port=notes.edge_port, proxy=None)
    async with connecting as socket:
        for number in range(100):
            await socket.send(f"{number}")
            assert await socket.recv() == f"{number}"


async def test_events_arrive_one_by_one(notes: Service) -> None:
    at: list[float] = []
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        client.stream(
            "GET", f"http://127.0.0.1:{notes.edge_port}/ticks?count=5", headers={"Host": notes.host}
        ) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                at.append(time.monotonic())
    assert len(at) == 5
    assert all(later - earlier > 0.03 for earlier, later in pairwise(at))


async def test_http2_without_tls_is_answered(notes: Service) -> None:
    async with httpx.AsyncClient(http1=False, http2=True, trust_env=False) as client:
        url = f"http://127.0.0.1:{notes.edge_port}/health"
        answers = await asyncio.gather(*(client.get(url, headers={"Host": notes.host}) for _ in range(20)))
    assert {(answer.status_code, answer.http_version) for answer in answers} == {(200, "HTTP/2")}


@pytest.fixture
def grpc_service(trackside: Trackside) -> Iterator[Service]:
    """A gRPC server, built from its requirements; its config says that it speaks HTTP/2 without TLS."""
    project = f"grpc-{uuid4().hex[:8]}"
    trackside.cli.run("project", "create", project)
    service = trackside.service(project, "rpc")
    trackside.cli.run("service", "create", "rpc", "--project", project)
    service.configure(applicationProtocol="h2c")
    service.up(GRPC)
    yield service
    trackside.cli.run("project", "delete", project, "--yes")


async def test_grpc_passes_in_both_directions_with_trailers(grpc_service: Service) -> None:
    options = [("grpc.default_authority", grpc_service.host)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_service.edge_port}", options=options) as channel:
        assert await channel.unary_unary("/test.Echo/One")(b"hello", timeout=10) == b"hello"
        sent = [str(number).encode() for number in range(50)]
        answers = channel.stream_stream("/test.Echo/Many")(iter(sent), timeout=10)
        assert [answer async for answer in answers] == sent
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/test.Echo/Fail")(b"", timeout=10)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")


async def test_the_app_learns_of_the_client_from_the_edge_alone(echo: Service) -> None:
    forged = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Real-IP": "1.2.3.4",
        "X-Request-Id": "given-id-1234",
    }
    answer = await fetch(echo.target("/headers"), headers=forged)
    lines = (line.partition(": ") for line in answer.body.decode().split("\r\n")[1:] if line)
    seen = {name.lower(): value for name, _, value in lines}
    assert (seen["x-forwarded-for"], seen["x-real-ip"]) == ("127.0.0.1", "127.0.0.1")
    assert (seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("http", echo.host)
    assert seen["x-request-id"] == answer.headers["x-request-id"] == "given-id-1234"
    assert len((await fetch(echo.target())).headers["x-request-id"]) >= 8


async def test_every_request_has_its_line_in_the_access_log(echo: Service) -> None:
    marks = [f"line-{number:03d}-{uuid4().hex[:8]}" for number in range(200)]
    target = echo.target()
    answers = await asyncio.gather(*(fetch(target, {"X-Request-Id": mark}) for mark in marks))
    assert {answer.status for answer in answers} == {200}
    found = until(lambda: whole_log(echo, marks), 30, "a line for each of 200 requests")
    assert sorted(found) == sorted(marks), "each exactly once"
    replicas = {replica["id"] for replica in echo.instance["active_deployment"]["replicas"]}
    assert {(line["attributes"]["status"], line["attributes"]["method"]) for line in found.values()} == {("200", "GET")}
    assert {line["replica_id"] for line in found.values()} == replicas


def whole_log(service: Service, marks: list[str]) -> dict[str, dict[str, Any]] | None:
    """By request id, the lines of the access log that are about the marked requests, once all are there."""
    printed = service.logs("--http", "--json", "--lines", "5000").splitlines()
    lines = [line for line in map(json.loads, printed) if line["attributes"].get("request_id") in set(marks)]
    assert len(lines) <= len(marks), "a request was logged twice"
    found = {line["attributes"]["request_id"]: line for line in lines}
    return found if len(found) == len(marks) else None
