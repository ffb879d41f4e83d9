"""The edge's loop on the proxy in memory: what it does with a database and a proxy that come and go."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID

from edge.site import Wanted, until
from trackside.adapters.memory.proxy import MemoryProxy
from trackside.kit.ids import new_id
from trackside.rooms.networking.converge import EdgeKeeper, Pace, Parts, Store
from trackside.rooms.networking.errors import ProxyUnavailable
from trackside.rooms.networking.model import (
    Backend,
    EdgeState,
    Health,
    Name,
    Probe,
    ProbeKind,
    Protocol,
    Route,
    Server,
)
from trackside.rooms.networking.ports import ProxyState, Served

PACE = Pace(restless=0.01, calm=0.02, reload=0.1, retry=0.02)
NETWORK = IPv4Network("10.0.0.0/24")


class SaidHealth:
    """A prober that says what the test says."""

    def __init__(self) -> None:
        self._health: dict[UUID, Health] = {}
        self._changed = asyncio.Event()

    def watch(self, backends: Sequence[Backend], trusted: frozenset[UUID]) -> None:
        """Nothing is probed."""

    def health(self) -> Mapping[UUID, Health]:
        return dict(self._health)

    async def wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def say(self, replica_id: UUID, is_healthy: bool) -> None:
        self._health[replica_id] = Health(is_healthy, "said", datetime.now(UTC))
        self._changed.set()


class HeardNames:
    """A resolver that remembers what it was given."""

    def __init__(self) -> None:
        self.names: Sequence[Name] = ()

    async def serve(self, names: Sequence[Name], networks: Sequence[IPv4Network]) -> None:
        self.names = tuple(names)


class BreakableProxy(MemoryProxy):
    """A proxy in memory that can be away."""

    is_away = False

    async def observe(self) -> ProxyState:
        if self.is_away:
            raise ProxyUnavailable("HAProxy is away.")
        return await super().observe()


class World:
    def __init__(self) -> None:
        self.proxy = BreakableProxy()
        self.prober = SaidHealth()
        self.resolver = HeardNames()
        self.wanted = Wanted()
        self.instance = new_id()
        self.server = Server(new_id(), IPv4Address("10.0.0.5"), 8080)
        probe = Probe(ProbeKind.HTTP)
        self.backend = Backend(1, self.instance, new_id(), (self.server,), probe, Protocol.HTTP1, 1)
        self.route = Route(self.instance, ("a.localhost",), 1, 1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        keeper = EdgeKeeper(
            Parts(self.proxy, self.prober, self.resolver),
            Store(self.wanted.load, self.wanted.report, self.wanted.wait_for_change),
            PACE,
        )
        task = asyncio.create_task(keeper.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def want_it(self) -> None:
        self.wanted.put([self.backend], [self.route])

    def serves(self) -> bool:
        replica_id = self.proxy.open_request("a.localhost")
        if replica_id:
            self.proxy.close_request(replica_id)
        return replica_id == self.server.replica_id


async def test_what_is_wanted_is_served_after_its_first_good_probe_and_reported() -> None:
    world = World()
    async with world.running():
        world.want_it()
        await until(lambda: world.backend.deployment_id in world.wanted.reports)
        assert not world.serves()
        world.prober.say(world.server.replica_id, is_healthy=True)
        await until(world.serves)
        await until(lambda: world.wanted.applied.get(world.instance) == 1)
        assert world.wanted.reports[world.backend.deployment_id].revision == 1


async def test_without_the_database_what_was_persisted_is_served() -> None:
    world = World()
    world.wanted.is_away = True
    state = EdgeState((world.backend,), (world.route,), (Name("web", NETWORK, (world.server.address,)),), (NETWORK,))
    await world.proxy.persist(Served(state, {1: frozenset({world.server.replica_id})}))
    await world.proxy.restart()
    async with world.running():
        await until(lambda: len(world.resolver.names) == 1)
        await world.proxy.put_routes([])
        await until(world.serves)
        world.wanted.is_away = False
        world.wanted.put([], [])
        await until(lambda: not world.serves())


async def test_a_lost_nudge_costs_time_only() -> None:
    world = World()
    async with world.running():
        await until(lambda: world.wanted.changed.is_set() is False)
        world.wanted.state = EdgeState((world.backend,), (world.route,))
        world.prober.say(world.server.replica_id, is_healthy=True)
        await until(world.serves)


async def test_a_report_that_did_not_arrive_is_sent_again_and_serving_goes_on() -> None:
    world = World()
    async with world.running():
        world.want_it()
        await until(lambda: world.backend.deployment_id in world.wanted.reports)
        world.wanted.is_away = True
        world.prober.say(world.server.replica_id, is_healthy=True)
        await until(world.serves)
        assert world.instance not in world.wanted.applied
        world.wanted.is_away = False
        await until(lambda: world.wanted.applied.get(world.instance) == 1)


async def test_nothing_new_is_not_reported() -> None:
    world = World()
    async with world.running():
        world.want_it()
        world.prober.say(world.server.replica_id, is_healthy=True)
        await until(lambda: world.wanted.applied.get(world.instance) == 1)
        await until(lambda: world.wanted.reports[world.backend.deployment_id].revision == 1)
        sent = world.wanted.sent
        loads = 0

        async def passes() -> None:
            nonlocal loads
            while loads < 10:
                world.wanted.changed.set()
                await asyncio.sleep(PACE.calm)
                loads += 1

        await passes()
        assert world.wanted.sent == sent


async def test_a_proxy_that_was_away_is_made_right_and_names_are_answered_meanwhile() -> None:
    world = World()
    async with world.running():
        world.prober.say(world.server.replica_id, is_healthy=True)
        world.want_it()
        await until(world.serves)
        world.proxy.is_away = True
        world.wanted.state = EdgeState(names=(Name("web", NETWORK, (world.server.address,)),))
        world.wanted.changed.set()
        await until(lambda: len(world.resolver.names) == 1)
        assert world.serves()
        world.proxy.is_away = False
        await until(lambda: not world.serves())


async def test_a_proxy_restarted_with_nothing_is_filled_again() -> None:
    world = World()
    async with world.running():
        world.want_it()
        world.prober.say(world.server.replica_id, is_healthy=True)
        await until(world.serves)
        await world.proxy.put_routes([])
        await world.proxy.clear_backend(1)
        await until(world.serves)
