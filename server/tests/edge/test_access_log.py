"""The access log: one line per request, none lost, whoever is killed in between."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from contracts.proxy import a_backend, a_route, all_of
from edge.apps import App
from edge.haproxy_process import HAProxyProcess
from edge.load import Load, Target, fetch
from edge.site import until
from trackside.adapters.proxy.access_log import CHUNK, FAR_BEHIND, AccessLog, open_log
from trackside.adapters.proxy.options import HAProxyOptions, Limits
from trackside.adapters.proxy.runtime import RuntimeSocket
from trackside.rooms.networking.model import Access, Backend, EdgeState
from trackside.rooms.networking.ports import Served

HOST = "app.localhost"


class Taken:
    """Takes over access lines; `fails` plays a log store that is away."""

    def __init__(self) -> None:
        self.lines: list[Access] = []
        self.fails = False

    async def __call__(self, lines: Sequence[Access]) -> None:
        if self.fails:
            raise OSError("no space left")
        self.lines += lines


@asynccontextmanager
async def reading(haproxy: HAProxyProcess, taken: Taken, count_seconds: float = 5.0) -> AsyncIterator[None]:
    """A reader until the block ends: as if it were killed there."""
    reader = AccessLog(haproxy.options, taken, count_seconds=count_seconds)
    task = asyncio.create_task(reader.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def lines_in(haproxy: HAProxyProcess) -> int:
    """Lines of requests that nobody has read; HAProxy adds some of its own, of a reload."""
    return sum(b"\t" in line for line in haproxy.options.access_log.read_bytes().splitlines())


async def test_the_reader_tells_while_so_much_is_unread_that_it_is_time_to_catch_up(short_directory: Path) -> None:
    options = HAProxyOptions(short_directory / "haproxy", short_directory / "run")
    os.close(open_log(options.access_log, os.O_RDWR))
    os.truncate(options.access_log, FAR_BEHIND + 3 * CHUNK)
    told: list[bool] = []
    reader = asyncio.create_task(AccessLog(options, Taken(), told.append).run())
    await until(lambda: told[-1:] == [False])
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert told[0]
    assert told == sorted(told, reverse=True)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with App("app") as app:
        yield app


@pytest.fixture
async def backend(haproxy: HAProxyProcess, app: App) -> Backend:
    backend = a_backend(app.server())
    route = a_route(backend, HOST)
    proxy = haproxy.proxy()
    await proxy.persist(Served(EdgeState((backend,), (route,)), {backend.slot: all_of(backend)}))
    await proxy.put_backend(backend, all_of(backend))
    await proxy.put_routes([route])
    return backend


async def test_a_line_says_who_asked_what_of_whom_and_how_it_ended(
    haproxy: HAProxyProcess, app: App, backend: Backend
) -> None:
    taken = Taken()
    async with reading(haproxy, taken):
        answer = await fetch(
            Target(HOST, haproxy.port, path="/slow/0.1?secret=1", method="POST", body=b"hello"),
            headers={"User-Agent": 'a "quoted" \\ agent {of|many}\twords #41'},
        )
        await until(lambda: len(taken.lines) == 1)
    line = taken.lines[0]
    assert (line.service_instance_id, line.deployment_id) == (backend.service_instance_id, backend.deployment_id)
    assert (line.replica_id, line.request_id) == (app.id, answer.headers["x-request-id"])
    assert (line.method, line.host, line.path, line.status) == ("POST", HOST, "/slow/0.1", 200)
    assert (line.client, line.user_agent, line.ended) == ("127.0.0.1", 'a "quoted" \\ agent {of|many}\twords #41', "--")
    assert 100 <= int(line.upstream_ms) <= int(line.total_ms) < 1000
    assert int(line.bytes_sent) > 3
    assert int(line.bytes_received) > 5


async def test_requests_that_reach_no_app_are_logged_without_one(haproxy: HAProxyProcess) -> None:
    taken = Taken()
    async with reading(haproxy, taken):
        await fetch(Target("nobody.localhost", haproxy.port))
        await until(lambda: len(taken.lines) == 1)
    line = taken.lines[0]
    assert (line.service_instance_id, line.deployment_id, line.replica_id) == (None, None, None)
    assert (line.status, line.host) == (404, "nobody.localhost")


async def test_what_is_no_request_is_logged_as_one_that_was_refused(haproxy: HAProxyProcess) -> None:
    taken = Taken()
    async with reading(haproxy, taken):
        _, writer = await asyncio.open_connection("127.0.0.1", haproxy.port)
        writer.write(b"nonsense\r\n\r\n")
        await until(lambda: len(taken.lines) == 1)
        writer.close()
    line = taken.lines[0]
    assert (line.status, line.method, line.path, line.host, line.request_id) == (400, "", "", "", "")


@pytest.mark.parametrize(
    "path",
    ['/"', "/%00%ff", "/" + chr(252), "/" + "x" * 5000, "/\\" + "u0041", "/'{}%[]", "/#09{a|b}"],
    ids=["quote", "escaped", "umlaut", "long", "backslash", "format", "as-if-encoded"],
)
async def test_no_path_breaks_a_line(haproxy: HAProxyProcess, backend: Backend, path: str) -> None:
    taken = Taken()
    async with reading(haproxy, taken):
        answer = await fetch(Target(HOST, haproxy.port, path=path))
        await until(lambda: len(taken.lines) == 1)
    assert taken.lines[0].status == answer.status
    if answer.status == 200:
        assert taken.lines[0].path == path[:1024]


async def test_no_line_is_lost_or_doubled_while_the_reader_comes_and_goes(
    haproxy: HAProxyProcess, backend: Backend
) -> None:
    taken = Taken()
    async with Load(Target(HOST, haproxy.port), 400) as load:
        for _ in range(8):
            async with reading(haproxy, taken):
                seen = len(taken.lines)
                await until(lambda seen=seen: len(taken.lines) > seen + 50)
            seen = len(load.outcomes)
            await until(lambda seen=seen: len(load.outcomes) > seen + 50)
    async with reading(haproxy, taken):
        await until(lambda: len(taken.lines) >= len(load.outcomes))
    assert sorted(line.request_id for line in taken.lines) == sorted(o.headers["x-request-id"] for o in load.outcomes)


async def test_no_line_is_lost_when_the_taker_fails(haproxy: HAProxyProcess, backend: Backend) -> None:
    taken = Taken()
    taken.fails = True
    async with reading(haproxy, taken):
        for _ in range(20):
            await fetch(Target(HOST, haproxy.port))
        assert not taken.lines
        taken.fails = False
        await until(lambda: len(taken.lines) == 20)


async def test_no_line_is_lost_when_haproxy_reloads_or_is_killed(haproxy: HAProxyProcess, backend: Backend) -> None:
    taken = Taken()
    answered: list[str] = []
    served = await haproxy.proxy().persisted() or Served()
    for step in ("reload", "kill"):
        async with Load(Target(HOST, haproxy.port, path="/slow/0.05"), 200) as load:
            await until(lambda load=load: len(load.outcomes) > 100)
            if step == "reload":
                proxy = haproxy.proxy()
                await proxy.persist(served)
                await proxy.grow(60)
            seen = len(load.outcomes)
            await until(lambda load=load, seen=seen: len(load.outcomes) > seen + 100)
        assert not load.failures, load.summary()
        answered += [outcome.headers["x-request-id"] for outcome in load.outcomes]
        # HAProxy writes a line when the client has its answer already: a kill right in between would take it along.
        expected = len(answered)
        await until(lambda expected=expected: lines_in(haproxy) == expected)
        if step == "kill":
            await haproxy.kill()
            await haproxy.start()
    async with reading(haproxy, taken):
        await until(lambda: len(taken.lines) >= len(answered))
    assert sorted(line.request_id for line in taken.lines) == sorted(answered)


async def test_what_was_read_takes_no_more_room(haproxy: HAProxyProcess, backend: Backend) -> None:
    taken = Taken()
    async with reading(haproxy, taken), Load(Target(HOST, haproxy.port), 500) as load:
        await until(lambda: len(load.outcomes) > 500)
    async with reading(haproxy, taken):
        await until(lambda: len(taken.lines) >= len(load.outcomes))
    log = haproxy.options.access_log.stat()
    assert log.st_size > 100_000
    assert log.st_blocks * 512 <= 16 << 10


async def test_a_line_that_is_none_is_skipped(haproxy: HAProxyProcess, backend: Backend) -> None:
    taken = Taken()
    await fetch(Target(HOST, haproxy.port))
    with haproxy.options.access_log.open("ab") as log:
        log.write(b'not a line\n{"at":1}\n')
    await fetch(Target(HOST, haproxy.port))
    async with reading(haproxy, taken):
        await until(lambda: len(taken.lines) == 2)


async def test_with_nobody_reading_it_stops_at_its_bound_and_serves_on(short_directory: Path) -> None:
    process = HAProxyProcess(short_directory, limits=Limits(logged_backlog=50))
    await process.start()
    try:
        for _ in range(80):
            assert (await fetch(Target("app.localhost", process.port))).status == 404
        taken = Taken()
        async with reading(process, taken):
            await until(lambda: len(taken.lines) == 50)
    finally:
        await process.stop()


async def ask_for(process: HAProxyProcess, count: int) -> None:
    for _ in range(count):
        assert (await fetch(Target("app.localhost", process.port))).status == 404


async def counted(process: HAProxyProcess) -> str:
    """HAProxy's count of unread lines, in its own words."""
    (said,) = await RuntimeSocket(process.options.runtime_socket).run(["get var proc.logged"])
    return said.rpartition("=")[2].strip()


async def test_its_bound_holds_while_lines_can_not_be_taken_over_and_what_was_dropped_is_told(
    short_directory: Path,
) -> None:
    """And once they can, there is room again for as many as were taken."""
    process, taken = HAProxyProcess(short_directory, limits=Limits(logged_backlog=50)), Taken()
    taken.fails = True
    await process.start()
    try:
        with capture_logs() as logged:
            async with reading(process, taken, count_seconds=0.02):
                await ask_for(process, 40)
                await ask_for(process, 40)
                async with asyncio.timeout(10):
                    while sum(one.get("lines", 0) for one in logged) < 30:
                        await asyncio.sleep(0.01)
                await ask_for(process, 10)
                assert lines_in(process) == 50
                taken.fails = False
                await until(lambda: len(taken.lines) == 50)
                async with asyncio.timeout(10):
                    while await counted(process) != "<0>":
                        await asyncio.sleep(0.01)
                await ask_for(process, 20)
                await until(lambda: len(taken.lines) == 70)
        assert sum(one.get("lines", 0) for one in logged) == 40
    finally:
        await process.stop()
