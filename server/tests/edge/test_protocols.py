"""What passes the edge: HTTP/1.1, HTTP/2, WebSocket, server-sent events, gRPC; and what it says, limits and refuses."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
import websockets

from contracts.proxy import a_backend, a_route, all_of
from edge.apps import App, fresh_address
from edge.haproxy_process import HAProxyProcess
from edge.load import Outcome, Target, fetch
from trackside.adapters.proxy.haproxy import HAProxy
from trackside.adapters.proxy.options import Limits
from trackside.kit.ids import new_id
from trackside.rooms.networking.model import Protocol, Server

HOST = "app.localhost"
LIMITS = Limits(header_seconds=1.0, client_seconds=1.0, idle_seconds=2.0, server_seconds=2.5, header_bytes=16 << 10)


@pytest.fixture
async def haproxy(short_directory: Path) -> AsyncIterator[HAProxyProcess]:
    process = HAProxyProcess(short_directory, limits=LIMITS)
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def app(haproxy: HAProxyProcess) -> AsyncIterator[App]:
    async with App("app") as app:
        await serve(haproxy.proxy(), app.server())
        yield app


async def serve(proxy: HAProxy, *servers: Server, protocol: Protocol = Protocol.HTTP1) -> None:
    backend = replace(a_backend(*servers), protocol=protocol)
    await proxy.put_backend(backend, all_of(backend))
    await proxy.put_routes([a_route(backend, HOST)])


def target(haproxy: HAProxyProcess, path: str = "/", method: str = "GET", body: bytes = b"") -> Target:
    return Target(HOST, haproxy.port, path=path, method=method, body=body)


# --- protocols ---


async def test_a_websocket_passes_and_may_be_silent_for_longer_than_a_request(haproxy: HAProxyProcess) -> None:
    address = fresh_address()

    async def echo(socket: websockets.ServerConnection) -> None:
        async for message in socket:
            await socket.send(f"echo {message}")

    async with websockets.serve(echo, str(address), 8080, ping_interval=None):
        await serve(haproxy.proxy(), Server(new_id(), address, 8080))
        connecting = websockets.connect(
            f"ws://{HOST}/", host="127.0.0.1", port=haproxy.port, proxy=None, ping_interval=None
        )
        async with connecting as socket:
            await socket.send("one")
            assert await socket.recv() == "echo one"
            await asyncio.sleep(LIMITS.server_seconds + 0.5)  # the silence is what is tested
            await socket.send("two")
            assert await socket.recv() == "echo two"


async def test_events_arrive_one_by_one(haproxy: HAProxyProcess, app: App) -> None:
    at: list[float] = []
    async with (
        httpx.AsyncClient() as client,
        client.stream("GET", f"http://127.0.0.1:{haproxy.port}/stream/5", headers={"Host": HOST}) as answer,
    ):
        async for line in answer.aiter_lines():
            if line:
                at.append(time.monotonic())
    assert len(at) == 5
    assert all(later - earlier > 0.05 for earlier, later in pairwise(at))


async def test_http2_without_tls_reaches_an_http1_app(haproxy: HAProxyProcess, app: App) -> None:
    async with httpx.AsyncClient(http1=False, http2=True) as client:
        url = f"http://127.0.0.1:{haproxy.port}/headers"
        answers = await asyncio.gather(*(client.get(url, headers={"Host": HOST}) for _ in range(20)))
    assert {(answer.status_code, answer.http_version) for answer in answers} == {(200, "HTTP/2")}
    assert f"host: {HOST}" in answers[0].text


async def test_grpc_passes_in_both_directions_with_trailers(haproxy: HAProxyProcess) -> None:
    address = fresh_address()
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"{address}:8080")
    server.start()
    try:
        await serve(haproxy.proxy(), Server(new_id(), address, 8080), protocol=Protocol.H2C)
        options = [("grpc.default_authority", HOST)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{haproxy.port}", options=options) as channel:
            assert await channel.unary_unary("/test.Echo/One")(b"hello") == b"hello"
            answers = [answer async for answer in channel.stream_stream("/test.Echo/Many")(iter([b"a", b"b", b"c"]))]
            assert answers == [b"a", b"b", b"c"]
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/test.Echo/Fail")(b"")
            assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    finally:
        server.stop(0)


class Echo(grpc.GenericRpcHandler):
    """A gRPC service without generated code: bytes in, bytes out."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        def fail(_: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
            return b""

        handlers: dict[str, Callable[[], grpc.RpcMethodHandler]] = {
            "/test.Echo/One": lambda: grpc.unary_unary_rpc_method_handler(lambda sent, _: sent),
            "/test.Echo/Many": lambda: grpc.stream_stream_rpc_method_handler(lambda sent, _: sent),
            "/test.Echo/Fail": lambda: grpc.unary_unary_rpc_method_handler(fail),
        }
        return handlers[handler_call_details.method]()


async def test_large_bodies_pass_whole(haproxy: HAProxyProcess, app: App) -> None:
    body = bytes(range(256)) * 4096 * 8
    assert (await fetch(target(haproxy, method="POST", body=body))).status == 200
    assert app.seen[-1].body == body


# --- what the app is told ---


async def test_the_app_learns_of_the_client_from_the_edge_alone(haproxy: HAProxyProcess, app: App) -> None:
    forged = {
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "bank.example",
        "X-Real-IP": "1.2.3.4",
        "Forwarded": "for=1.2.3.4",
    }
    await fetch(target(haproxy, "/headers"), headers=forged)
    seen = app.seen[-1].headers
    assert (seen["x-forwarded-for"], seen["x-real-ip"]) == ("127.0.0.1", "127.0.0.1")
    assert (seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("http", HOST)
    assert seen["x-forwarded-port"] == str(haproxy.port)
    assert "forwarded" not in seen


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("req-1234.abc:5_6", True), ("short", False), ('evil"quote-1234', False), ("x" * 200, False), ("", False)],
)
async def test_a_sane_request_id_is_kept_and_others_are_replaced(
    haproxy: HAProxyProcess, app: App, given: str, is_kept: bool
) -> None:
    answer = await fetch(target(haproxy, "/headers"), headers={"X-Request-Id": given})
    received = app.seen[-1].headers["x-request-id"]
    assert (received == given) is is_kept
    assert answer.headers["x-request-id"] == received
    assert len(received) >= 8


async def test_every_request_has_an_id_of_its_own(haproxy: HAProxyProcess, app: App) -> None:
    answers = [await fetch(target(haproxy)) for _ in range(20)]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 20


async def test_a_request_that_comes_round_too_often_is_ended(haproxy: HAProxyProcess, app: App) -> None:
    assert (await fetch(target(haproxy), headers={"X-Trackside-Hops": "9"})).status == 200
    assert app.seen[-1].headers["x-trackside-hops"] == "10"
    answer = await fetch(target(haproxy), headers={"X-Trackside-Hops": "10"})
    assert answer.status == 508


async def test_host_names_are_found_without_case_port_and_final_dot(haproxy: HAProxyProcess, app: App) -> None:
    for host in (HOST, "App.LocalHost", f"{HOST}:{haproxy.port}", f"{HOST}."):
        assert (await fetch(replace(target(haproxy), host=host))).status == 200


# --- what the edge says itself ---


def code_of(answer: Outcome) -> str:
    assert answer.headers["content-type"] == "application/json"
    error = json.loads(answer.body)["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert error["hint"]
    return str(error["code"])


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/hang-up", 502, "edge.app_broke_off"), ("/slow/9", 504, "edge.app_timeout")],
)
async def test_failures_of_the_app_are_named_to_programs_and_people(
    haproxy: HAProxyProcess, app: App, path: str, status: int, code: str
) -> None:
    answer = await fetch(target(haproxy, path, "POST"), headers={"Accept": "application/json"})
    assert (answer.status, code_of(answer)) == (status, code)
    answer = await fetch(target(haproxy, path, "POST"), headers={"Accept": "text/html,application/json"})
    assert answer.status == status
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["x-request-id"] in answer.body.decode()
    assert "x-edge-page" not in answer.headers


@pytest.mark.parametrize(("method", "rate", "times"), [("GET", 5000, 4), ("GET", 0, 1), ("POST", 5000, 1)])
async def test_a_request_without_an_answer_is_sent_again_if_it_may_be_and_there_is_no_flood(
    short_directory: Path, method: str, rate: int, times: int
) -> None:
    process = HAProxyProcess(short_directory, limits=replace(LIMITS, resent_rate=rate))
    await process.start()
    try:
        async with App("app") as app:
            await serve(process.proxy(), app.server())
            assert (await fetch(target(process, "/hang-up", method))).status == 502
            assert len(app.seen) == times
    finally:
        await process.stop()


async def test_no_replica_at_all_is_named(haproxy: HAProxyProcess, app: App) -> None:
    await app.die()
    answer = await fetch(target(haproxy), headers={"Accept": "application/json"})
    assert (answer.status, code_of(answer)) == (503, "edge.app_unreachable")
    assert answer.headers["retry-after"] == "5"


async def test_an_unknown_host_is_named_without_echoing_markup(haproxy: HAProxyProcess) -> None:
    answer = await fetch(replace(target(haproxy), host="other.localhost"), headers={"Accept": "application/json"})
    assert (answer.status, code_of(answer)) == (404, "edge.no_such_app")
    assert b"other.localhost" in answer.body
    answer = await fetch(replace(target(haproxy), host="<script>"))
    assert b"<script>" not in answer.body


async def test_what_the_app_itself_answers_is_left_alone(haproxy: HAProxyProcess, app: App) -> None:
    answer = await fetch(target(haproxy, "/teapot"), headers={"Accept": "application/json"})
    assert (answer.status, answer.body) == (418, b"short and stout")
    app.healthy = lambda: False
    answer = await fetch(target(haproxy, "/health"), headers={"Accept": "application/json"})
    assert (answer.status, answer.body) == (503, b"db not ready")


async def test_a_connection_to_an_app_is_used_for_one_request_after_the_other(
    haproxy: HAProxyProcess, app: App
) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(10):
            (await client.get(f"http://127.0.0.1:{haproxy.port}/", headers={"Host": HOST})).raise_for_status()
    assert (len(app.seen), app.connections) == (10, 1)


# --- limits ---


async def test_headers_have_a_limit_in_size_and_number(haproxy: HAProxyProcess, app: App) -> None:
    assert (await fetch(target(haproxy), headers={"X-Big": "x" * 12_000})).status == 200
    assert (await fetch(target(haproxy), headers={"X-Big": "x" * 20_000})).status == 400
    assert (await fetch(target(haproxy), headers={f"X-{n}": "x" for n in range(80)})).status == 200
    assert (await fetch(target(haproxy), headers={f"X-{n}": "x" for n in range(120)})).status == 400
    assert (await fetch(target(haproxy))).status == 200


async def test_a_client_that_sends_its_headers_slowly_is_dropped(haproxy: HAProxyProcess, app: App) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", haproxy.port)
    begin = time.monotonic()
    closed = asyncio.create_task(reader.read(-1))
    for byte in b"GET / HTTP/1.1\r\nHost: app.localhost\r\nX: " + b"x" * 1000:
        if closed.done():
            break
        writer.write(bytes([byte]))
        await asyncio.wait([closed], timeout=0.05)
    answer = await closed
    assert not answer or b" 408 " in answer
    assert time.monotonic() - begin < LIMITS.header_seconds + 1
    assert not app.seen
    writer.close()


async def test_a_client_that_stops_sending_its_body_does_not_stay_for_ever(haproxy: HAProxyProcess, app: App) -> None:
    begin = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", haproxy.port)
    writer.write(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n\r\nabc".encode())
    async with asyncio.timeout(10):
        await reader.read(-1)
    writer.close()
    # HAProxy 2.6 waits for the app here, not for the client.
    assert time.monotonic() - begin < LIMITS.server_seconds + 1


async def test_an_app_may_be_silent_for_longer_than_a_client(haproxy: HAProxyProcess, app: App) -> None:
    seconds = LIMITS.client_seconds + 1.0
    assert (await fetch(target(haproxy, f"/slow/{seconds}"))).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        bytes([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]),  # the start of TLS
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET /" + bytes([0]) + b" HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
        b"\r\n" * 50,
    ],
    ids=["tls", "two lengths", "nul", "empty lines"],
)
async def test_nonsense_does_no_harm(haproxy: HAProxyProcess, app: App, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", haproxy.port)
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read(-1)
    writer.close()
    assert not answer or b" 400 " in answer
    assert not app.seen
    assert (await fetch(target(haproxy))).status == 200
