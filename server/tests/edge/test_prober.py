"""The prober asks real apps, and says in a sentence what they answered."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

import h2.config
import h2.connection
import h2.events
import pytest

from contracts.proxy import a_backend
from edge.apps import App, fresh_address
from edge.site import until
from trackside.adapters.prober.ask import HOST, ask
from trackside.adapters.prober.prober import ReplicaProber
from trackside.kit.clock import SystemClock
from trackside.kit.ids import new_id
from trackside.rooms.networking.model import Backend, Health, Probe, ProbeKind, Protocol, Server

HTTP = Probe(ProbeKind.HTTP, "/health", timeout=0.5, interval=0.2)
TCP = Probe(ProbeKind.TCP, timeout=0.5, interval=0.2)


@pytest.fixture
async def prober() -> AsyncIterator[ReplicaProber]:
    prober = ReplicaProber(SystemClock())
    yield prober
    await prober.stop()


def backend(*servers: Server, probe: Probe = HTTP, protocol: Protocol = Protocol.HTTP1) -> Backend:
    return replace(a_backend(*servers), probe=probe, protocol=protocol)


def health(prober: ReplicaProber, replica_id: UUID) -> Health | None:
    return prober.health().get(replica_id)


async def test_an_app_that_answers_200_is_well_and_sees_the_health_check_host() -> None:
    async with App() as app:
        answer = await ask(app.server(), HTTP, Protocol.HTTP1)
        assert (answer.is_good, answer.detail) == (True, "HTTP 200")
        assert (app.seen[0].headers["host"], app.seen[0].path) == (HOST, "/health")


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/teapot", 'HTTP 418: "short and stout"'),
        ("/hang-up", "the app closed the connection without an answer"),
        ("/slow/3", "no answer within 0.5 s"),
    ],
)
async def test_anything_but_200_is_a_failure_with_a_sentence(path: str, detail: str) -> None:
    async with App() as app:
        answer = await ask(app.server(), replace(HTTP, path=path), Protocol.HTTP1)
    assert (answer.is_good, answer.detail) == (False, detail)


async def test_nobody_listening_is_said_so() -> None:
    answer = await ask(Server(new_id(), fresh_address(), 8080), HTTP, Protocol.HTTP1)
    assert (answer.is_good, answer.detail) == (False, "connection refused on port 8080")


async def test_an_address_that_leads_nowhere_is_said_so() -> None:
    answer = await ask(Server(new_id(), IPv4Address("240.0.0.1"), 80), HTTP, Protocol.HTTP1)
    assert not answer.is_good
    assert answer.detail


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"x" * 70_000])
@pytest.mark.parametrize("protocol", list(Protocol))
async def test_what_is_not_http_is_a_failure(sent: bytes, protocol: Protocol) -> None:
    address = fresh_address()

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    async with await asyncio.start_server(say, str(address), 8080):
        answer = await ask(Server(new_id(), address, 8080), HTTP, protocol)
    assert not answer.is_good


async def test_a_tcp_probe_passes_where_somebody_listens() -> None:
    async with App() as app:
        assert (await ask(app.server(), TCP, Protocol.HTTP1)).is_good
    assert not (await ask(app.server(), TCP, Protocol.HTTP1)).is_good


@pytest.mark.parametrize(("status", "detail"), [(200, "HTTP 200"), (503, 'HTTP 503: "not yet"')])
async def test_an_app_that_speaks_only_http2_is_asked_in_http2(status: int, detail: str) -> None:
    address, served = fresh_address(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived) and event.stream_id:
                    connection.send_headers(event.stream_id, [(":status", str(status))])
                    connection.send_data(event.stream_id, b"not yet", end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()
        served.set()

    async with await asyncio.start_server(serve, str(address), 8080):
        answer = await ask(Server(new_id(), address, 8080), HTTP, Protocol.H2C)
        await served.wait()
    assert (answer.is_good, answer.detail) == (status == 200, detail)


async def test_a_new_replica_is_unwell_until_its_first_good_probe_and_is_asked_often(prober: ReplicaProber) -> None:
    async with App() as app:
        app.healthy = lambda: len(app.seen) > 3
        begin = time.monotonic()
        prober.watch([backend(app.server(), probe=replace(HTTP, interval=60))], frozenset())
        await until(lambda: (seen := health(prober, app.id)) is not None and not seen.is_healthy)
        await until(lambda: (seen := health(prober, app.id)) is not None and seen.is_healthy)
        assert time.monotonic() - begin < 2


async def test_one_failure_is_forgiven_and_three_in_a_row_are_not(prober: ReplicaProber) -> None:
    async with App() as app:
        failing: list[int] = []
        app.healthy = lambda: len(app.seen) not in failing
        prober.watch([backend(app.server())], frozenset())
        await until(lambda: (seen := health(prober, app.id)) is not None and seen.is_healthy)
        since = prober.health()[app.id].since
        failing += [len(app.seen) + 1, len(app.seen) + 2, *range(len(app.seen) + 4, 10_000)]
        at = len(app.seen)
        await until(lambda: len(app.seen) > at + 3)
        assert prober.health()[app.id] == Health(True, "HTTP 200", since)
        await until(lambda: not prober.health()[app.id].is_healthy)
        assert len(app.seen) == at + 6
        failing.clear()
        await until(lambda: prober.health()[app.id].is_healthy)


async def test_a_trusted_replica_has_no_health_until_three_failures(prober: ReplicaProber) -> None:
    async with App() as app:
        app.healthy = lambda: False
        prober.watch([backend(app.server())], frozenset({app.id}))
        await until(lambda: len(app.seen) == 2)
        assert health(prober, app.id) is None
        await until(lambda: health(prober, app.id) is not None)
        assert len(app.seen) == 3
        assert not prober.health()[app.id].is_healthy


async def test_changes_wake_who_waits_and_silence_does_not(prober: ReplicaProber) -> None:
    async with App() as app:
        prober.watch([backend(app.server())], frozenset())
        await asyncio.wait_for(prober.wait_for_change(), 5)
        seen = len(app.seen)
        waiting = asyncio.create_task(prober.wait_for_change())
        await until(lambda: len(app.seen) > seen + 3)
        assert not waiting.done()
        await app.die()
        await asyncio.wait_for(waiting, 5)
        assert prober.health()[app.id].detail == "connection refused on port 8080"


async def test_a_replica_that_moves_starts_anew_and_one_that_goes_is_forgotten(prober: ReplicaProber) -> None:
    async with App() as first, App() as second:
        watched = backend(first.server())
        prober.watch([watched], frozenset())
        await until(lambda: health(prober, first.id) is not None)
        moved = replace(first.server(), address=second.address)
        prober.watch([replace(watched, servers=(moved,))], frozenset())
        assert health(prober, first.id) is None
        await until(lambda: health(prober, first.id) is not None)
        assert second.seen
        prober.watch([], frozenset())
        assert not prober.health()


async def test_two_thousand_probes_a_second_are_cheap(prober: ReplicaProber) -> None:
    async with App() as app:
        servers = [Server(new_id(), app.address, app.port) for _ in range(1000)]
        prober.watch([backend(*servers, probe=replace(TCP, interval=0.5))], frozenset())
        await until(lambda: len(prober.health()) == 1000)
        assert all(seen.is_healthy for seen in prober.health().values())
