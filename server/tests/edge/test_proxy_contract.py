"""The proxy in memory and the real HAProxy keep the port's contract."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import IPv4Address
from uuid import UUID

import pytest

from contracts.proxy import ProxyContract, Stage, a_backend, a_route, all_of
from edge.apps import App
from edge.haproxy_process import HAProxyProcess
from edge.load import Target, fetch
from trackside.adapters.memory.proxy import MemoryProxy
from trackside.kit.ids import new_id
from trackside.rooms.networking.errors import ProxyUnavailable
from trackside.rooms.networking.model import Server


class MemoryStage(Stage):
    def __init__(self) -> None:
        self.proxy = self._memory = MemoryProxy(20)
        self._next = IPv4Address("10.0.0.1")

    async def replica(self) -> Server:
        self._next += 1
        return Server(new_id(), self._next, 8080)

    async def ask(self, host: str) -> UUID | None:
        replica_id = self._memory.open_request(host)
        if replica_id:
            self._memory.close_request(replica_id)
        return replica_id

    async def hold(self, host: str) -> Callable[[], Awaitable[UUID | None]]:
        replica_id = self._memory.open_request(host)

        async def release() -> UUID | None:
            if replica_id:
                self._memory.close_request(replica_id)
            return replica_id

        return release

    async def restart(self) -> None:
        await self._memory.restart()

    async def boot(self) -> None:
        await self._memory.boot()


class HAProxyStage(Stage):
    def __init__(self, process: HAProxyProcess, apps: AsyncExitStack) -> None:
        self.proxy = process.proxy()
        self._process = process
        self._apps = apps

    async def replica(self) -> Server:
        app = await self._apps.enter_async_context(App())
        app.name = str(app.id)
        return app.server()

    async def ask(self, host: str) -> UUID | None:
        return await self._send(host, "/")

    async def _send(self, host: str, path: str) -> UUID | None:
        try:
            answer = await fetch(Target(host, self._process.port, path=path))
        except ConnectionRefusedError:
            return None
        return UUID(answer.body.decode()) if answer.status == 200 else None

    async def hold(self, host: str) -> Callable[[], Awaitable[UUID | None]]:
        open_before = await self._open()
        answer = asyncio.create_task(self._send(host, "/slow/0.7"))
        async with asyncio.timeout(5):
            while await self._open() <= open_before:
                await asyncio.sleep(0.005)

        async def release() -> UUID | None:
            return await answer

        return release

    async def _open(self) -> int:
        slots = (await self.proxy.observe()).slots.values()
        return sum(sum(slot.open_requests.values()) for slot in slots)

    async def restart(self) -> None:
        await self._process.kill()
        await self._process.start(is_boot=not self._process.options.opened.exists())

    async def boot(self) -> None:
        await self._process.boot()


class TestMemoryProxy(ProxyContract):
    @pytest.fixture
    async def stage(self) -> Stage:
        return MemoryStage()


class TestHAProxy(ProxyContract):
    @pytest.fixture
    async def stage(self, haproxy: HAProxyProcess) -> AsyncIterator[Stage]:
        async with AsyncExitStack() as apps:
            yield HAProxyStage(haproxy, apps)

    async def test_a_host_that_is_none_never_reaches_haproxy(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica())
        await stage.proxy.put_backend(backend, all_of(backend))
        for host in ("a b", "a;del map", "a\nshow info", ""):
            with pytest.raises(ProxyUnavailable):
                await stage.proxy.put_routes([a_route(backend, host)])
