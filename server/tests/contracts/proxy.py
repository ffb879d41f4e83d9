"""What every proxy does: the suite of the port `Proxy`.

A subclass gives the fixture `stage`: a proxy with at least 20 slots, replicas behind it and clients before it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import pytest

from trackside.kit.ids import new_id
from trackside.rooms.networking.errors import ProxyUnavailable
from trackside.rooms.networking.model import Backend, EdgeState, Page, Protocol, Route, Server
from trackside.rooms.networking.ports import Proxy, Served


class Stage(ABC):
    """A proxy with replicas behind it and clients before it."""

    proxy: Proxy

    @abstractmethod
    async def replica(self) -> Server:
        """A running replica."""

    @abstractmethod
    async def ask(self, host: str) -> UUID | None:
        """Send a request; the replica that answered, None where a page did, or nobody."""

    @abstractmethod
    async def hold(self, host: str) -> Callable[[], Awaitable[UUID | None]]:
        """Open a request that lasts until the returned function is called, which gives the replica that answered it."""

    @abstractmethod
    async def restart(self) -> None:
        """Kill the proxy and start it again."""

    @abstractmethod
    async def boot(self) -> None:
        """Let its machine go down and up again."""


def a_backend(*servers: Server, slot: int = 3, instance: UUID | None = None) -> Backend:
    return Backend(slot, instance or new_id(), new_id(), servers, None, Protocol.HTTP1, 1)


def a_route(backend: Backend, *hosts: str, target: int | Page | None = None) -> Route:
    return Route(
        backend.service_instance_id, hosts or ("app.localhost",), backend.slot if target is None else target, 1
    )


def all_of(*backends: Backend) -> frozenset[UUID]:
    return frozenset(server.replica_id for backend in backends for server in backend.servers)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


class ProxyContract:
    async def test_a_new_proxy_holds_nothing_and_answers_with_a_page(self, stage: Stage) -> None:
        seen = await stage.proxy.observe()
        assert (dict(seen.slots), dict(seen.hosts), dict(seen.targets)) == ({}, {}, {})
        assert await stage.ask("app.localhost") is None
        assert await stage.proxy.capacity() >= 20

    async def test_what_was_put_is_seen(self, stage: Stage) -> None:
        first, second = await stage.replica(), await stage.replica()
        backend = a_backend(first, second)
        await stage.proxy.put_backend(backend, frozenset({first.replica_id}))
        await stage.proxy.put_routes([a_route(backend, "a.localhost", "b.localhost")])
        seen = await stage.proxy.observe()
        assert dict(seen.slots[3].servers) == {
            server.replica_id: f"{server.address}:{server.port}" for server in (first, second)
        }
        assert seen.slots[3].ready == {first.replica_id}
        assert dict(seen.slots[3].open_requests) == {first.replica_id: 0, second.replica_id: 0}
        instance = backend.service_instance_id
        assert dict(seen.hosts) == {"a.localhost": instance, "b.localhost": instance}
        assert dict(seen.targets) == {instance: "slot:3"}

    async def test_only_ready_replicas_get_requests(self, stage: Stage) -> None:
        servers = [await stage.replica() for _ in range(3)]
        backend = a_backend(*servers)
        ready = {servers[0].replica_id, servers[2].replica_id}
        await stage.proxy.put_backend(backend, frozenset(ready))
        await stage.proxy.put_routes([a_route(backend)])
        held = [await stage.hold("app.localhost") for _ in range(6)]
        assert {await release() for release in held} == ready

    async def test_a_leaving_replica_gets_no_requests_even_when_called_ready(self, stage: Stage) -> None:
        stays, leaves = await stage.replica(), await stage.replica()
        backend = a_backend(stays, replace(leaves, is_leaving=True))
        await stage.proxy.put_backend(backend, all_of(backend))
        await stage.proxy.put_routes([a_route(backend)])
        assert {await stage.ask("app.localhost") for _ in range(6)} == {stays.replica_id}
        assert (await stage.proxy.observe()).slots[3].ready == {stays.replica_id}

    async def test_a_backend_without_a_route_gets_no_requests(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica())
        await stage.proxy.put_backend(backend, all_of(backend))
        assert await stage.ask("app.localhost") is None

    async def test_a_swap_moves_every_host_of_the_service_at_once(self, stage: Stage) -> None:
        old = a_backend(await stage.replica(), slot=1)
        new = a_backend(await stage.replica(), slot=2, instance=old.service_instance_id)
        hosts = ("a.localhost", "b.localhost", "c.localhost")
        for backend in (old, new):
            await stage.proxy.put_backend(backend, all_of(backend))
            await stage.proxy.put_routes([a_route(backend, *hosts)])
            assert {await stage.ask(host) for host in hosts} == all_of(backend)

    async def test_an_open_request_outlives_the_swap_and_is_counted(self, stage: Stage) -> None:
        old = a_backend(await stage.replica(), slot=1)
        new = a_backend(await stage.replica(), slot=2, instance=old.service_instance_id)
        await stage.proxy.put_backend(old, all_of(old))
        await stage.proxy.put_routes([a_route(old)])
        release = await stage.hold("app.localhost")
        await stage.proxy.put_backend(new, all_of(new))
        await stage.proxy.put_routes([a_route(new)])
        replica_id = old.servers[0].replica_id
        assert (await stage.proxy.observe()).slots[1].open_requests[replica_id] == 1
        assert await stage.ask("app.localhost") == new.servers[0].replica_id
        assert await release() == replica_id

        async def drained() -> bool:
            return (await stage.proxy.observe()).slots[1].open_requests[replica_id] == 0

        await until(drained)

    async def test_a_replica_that_is_to_go_stays_closed_until_its_last_request_ended(self, stage: Stage) -> None:
        stays, goes = await stage.replica(), await stage.replica()
        backend = a_backend(stays, goes)
        await stage.proxy.put_backend(backend, frozenset({goes.replica_id}))
        await stage.proxy.put_routes([a_route(backend)])
        release = await stage.hold("app.localhost")
        without = replace(backend, servers=(stays,))
        await stage.proxy.put_backend(without, all_of(without))
        slot = (await stage.proxy.observe()).slots[3]
        assert goes.replica_id in slot.servers
        assert slot.ready == {stays.replica_id}
        assert await stage.ask("app.localhost") == stays.replica_id
        assert await release() == goes.replica_id

        async def gone() -> bool:
            await stage.proxy.put_backend(without, all_of(without))
            return set((await stage.proxy.observe()).slots[3].servers) == {stays.replica_id}

        await until(gone)

    async def test_a_replica_that_was_used_and_is_idle_is_removed_soon(self, stage: Stage) -> None:
        stays, goes = await stage.replica(), await stage.replica()
        backend = a_backend(stays, goes)
        await stage.proxy.put_backend(backend, all_of(backend))
        await stage.proxy.put_routes([a_route(backend)])
        held = [await stage.hold("app.localhost") for _ in range(4)]
        assert {await release() for release in held} == all_of(backend)
        without = replace(backend, servers=(stays,))

        async def gone() -> bool:
            await stage.proxy.put_backend(without, all_of(without))
            return set((await stage.proxy.observe()).slots[3].servers) == {stays.replica_id}

        await until(gone, 1.0)

    async def test_a_replica_moves_to_another_address(self, stage: Stage) -> None:
        before, after = await stage.replica(), await stage.replica()
        backend = a_backend(before)
        await stage.proxy.put_backend(backend, all_of(backend))
        await stage.proxy.put_routes([a_route(backend)])
        assert await stage.ask("app.localhost") is not None
        moved = replace(backend, servers=(replace(before, address=after.address, port=after.port),))
        await stage.proxy.put_backend(moved, all_of(moved))
        seen = await stage.proxy.observe()
        assert dict(seen.slots[3].servers) == {before.replica_id: f"{after.address}:{after.port}"}

    async def test_a_cleared_slot_is_empty_and_can_be_used_again(self, stage: Stage) -> None:
        first = a_backend(await stage.replica())
        await stage.proxy.put_backend(first, all_of(first))
        await stage.proxy.put_routes([a_route(first)])
        assert await stage.ask("app.localhost") is not None
        await stage.proxy.put_routes([a_route(first, target=Page.STOPPED)])

        async def empty() -> bool:
            await stage.proxy.clear_backend(3)
            return 3 not in (await stage.proxy.observe()).slots

        await until(empty)
        second = a_backend(await stage.replica())
        await stage.proxy.put_backend(second, all_of(second))
        await stage.proxy.put_routes([a_route(second)])
        assert await stage.ask("app.localhost") == second.servers[0].replica_id

    async def test_a_page_answers_where_the_route_says_so(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica())
        await stage.proxy.put_backend(backend, all_of(backend))
        for page in Page:
            await stage.proxy.put_routes([a_route(backend, target=page)])
            assert await stage.ask("app.localhost") is None
            assert (await stage.proxy.observe()).targets[backend.service_instance_id] == f"page:{page}"

    async def test_routes_that_are_not_wanted_any_more_are_gone(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica())
        await stage.proxy.put_backend(backend, all_of(backend))
        await stage.proxy.put_routes([a_route(backend, "a.localhost", "b.localhost")])
        await stage.proxy.put_routes([a_route(backend, "b.localhost")])
        assert await stage.ask("a.localhost") is None
        assert await stage.ask("b.localhost") is not None
        await stage.proxy.put_routes([])
        seen = await stage.proxy.observe()
        assert (dict(seen.hosts), dict(seen.targets)) == ({}, {})

    async def test_saying_it_twice_changes_nothing(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica(), await stage.replica())
        seen = []
        for _ in range(2):
            await stage.proxy.put_backend(backend, all_of(backend))
            await stage.proxy.put_routes([a_route(backend)])
            seen.append(await stage.proxy.observe())
        assert seen[0] == seen[1]
        for _ in range(2):
            await stage.proxy.clear_backend(17)

    async def test_host_names_are_compared_without_case(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica())
        await stage.proxy.put_backend(backend, all_of(backend))
        await stage.proxy.put_routes([a_route(backend, "App.LocalHost")])
        assert await stage.ask("app.localhost") is not None

    async def test_after_a_crash_it_serves_what_was_persisted(self, stage: Stage) -> None:
        well, ill = await stage.replica(), await stage.replica()
        backend = a_backend(well, ill)
        route = a_route(backend)
        ready = frozenset({well.replica_id})
        await stage.proxy.persist(Served(EdgeState((backend,), (route,)), {3: ready}))
        assert await stage.proxy.persisted() == Served(EdgeState((backend,), (route,)), {3: ready})
        assert await stage.ask("app.localhost") is None
        await stage.restart()
        assert {await stage.ask("app.localhost") for _ in range(4)} == ready
        seen = await stage.proxy.observe()
        assert set(seen.slots[3].servers) == all_of(backend)
        assert seen.slots[3].ready == ready
        await stage.proxy.put_backend(backend, all_of(backend))
        assert (await stage.proxy.observe()).slots[3].ready == all_of(backend), "what came back closed is open now"

    async def test_after_a_boot_nobody_is_answered_until_it_is_opened(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica())
        served = Served(EdgeState((backend,), (a_route(backend),)), {3: all_of(backend)})
        await stage.proxy.persist(served)
        await stage.boot()
        seen = await stage.proxy.observe()
        assert not seen.is_open
        assert set(seen.slots[3].servers) == all_of(backend)
        assert seen.slots[3].ready == frozenset(), "nobody has looked whether they are well"
        assert await stage.ask("app.localhost") is None
        await stage.restart()
        assert not (await stage.proxy.observe()).is_open
        await stage.proxy.put_backend(backend, all_of(backend))
        await stage.proxy.persist(served)
        for _ in range(2):
            await stage.proxy.open()
            assert (await stage.proxy.observe()).is_open
            assert {await stage.ask("app.localhost")} == all_of(backend)
        await stage.restart()
        assert (await stage.proxy.observe()).is_open
        assert {await stage.ask("app.localhost")} == all_of(backend)

    async def test_it_grows_and_keeps_what_it_serves(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica())
        route = a_route(backend)
        await stage.proxy.persist(Served(EdgeState((backend,), (route,)), {3: all_of(backend)}))
        await stage.proxy.put_backend(backend, all_of(backend))
        await stage.proxy.put_routes([route])
        before = await stage.proxy.capacity()
        await stage.proxy.grow(before - 1)
        assert await stage.proxy.capacity() == before
        await stage.proxy.grow(before + 7)
        assert await stage.proxy.capacity() >= before + 7
        assert await stage.ask("app.localhost") == backend.servers[0].replica_id
        late = a_backend(await stage.replica(), slot=before + 5)
        await stage.proxy.put_backend(late, all_of(late))
        await stage.proxy.put_routes([route, a_route(late, "late.localhost")])
        assert await stage.ask("late.localhost") == late.servers[0].replica_id

    async def test_a_slot_that_does_not_exist_is_refused(self, stage: Stage) -> None:
        backend = a_backend(await stage.replica(), slot=await stage.proxy.capacity() + 1)
        with pytest.raises(ProxyUnavailable):
            await stage.proxy.put_backend(backend, all_of(backend))
