"""Port `Proxy` in memory, for tests of what stands on it. Requests are opened and closed by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from trackside.rooms.networking.errors import ProxyUnavailable
from trackside.rooms.networking.model import Backend, Page, Route
from trackside.rooms.networking.ports import ProxySlot, ProxyState, Served


@dataclass
class _Place:
    """A server in a slot."""

    address: str
    is_ready: bool
    is_going: bool = False
    open_requests: int = 0


@dataclass
class _Held:
    """All that the proxy holds."""

    slots: dict[int, dict[UUID, _Place]] = field(default_factory=dict)
    hosts: dict[str, UUID] = field(default_factory=dict)
    targets: dict[UUID, str] = field(default_factory=dict)


class MemoryProxy:
    """A proxy without a network; `restart` plays its crash, `open_request` and `close_request` its clients."""

    def __init__(self, slots: int = 500) -> None:
        self._capacity = slots
        self._held = _Held()
        self._served: Served | None = None
        self._is_open = True

    # --- the port ---

    async def observe(self) -> ProxyState:
        return ProxyState(
            slots={slot: _seen(slot, places) for slot, places in self._held.slots.items() if places},
            hosts=dict(self._held.hosts),
            targets=dict(self._held.targets),
            is_open=self._is_open,
        )

    async def persist(self, served: Served) -> None:
        self._served = served

    async def persisted(self) -> Served | None:
        return self._served

    async def put_backend(self, backend: Backend, ready: frozenset[UUID]) -> None:
        self._check(backend.slot)
        places = self._held.slots.setdefault(backend.slot, {})
        wanted = {server.replica_id: server for server in backend.servers}
        for replica_id, server in wanted.items():
            place = places.setdefault(replica_id, _Place("", is_ready=False))
            place.address = f"{server.address}:{server.port}"
            place.is_ready = replica_id in ready and not server.is_leaving
            place.is_going = False
        for replica_id in [key for key in places if key not in wanted]:
            places[replica_id].is_ready, places[replica_id].is_going = False, True
            self._remove_if_idle(places, replica_id)

    async def clear_backend(self, slot: int) -> None:
        self._held.slots.pop(slot, None)

    async def put_routes(self, routes: Sequence[Route]) -> None:
        self._held.hosts = {host.lower(): route.service_instance_id for route in routes for host in route.hosts}
        self._held.targets = {route.service_instance_id: _target(route.target) for route in routes}

    async def open(self) -> None:
        if self._served is None:
            raise ProxyUnavailable("Nothing was persisted yet.")
        self._is_open = True

    async def capacity(self) -> int:
        return self._capacity

    async def grow(self, slots: int) -> None:
        if self._served is None:
            raise ProxyUnavailable("Nothing was persisted yet.")
        self._capacity = max(self._capacity, slots)

    # --- the world ---

    async def restart(self) -> None:
        """Lose everything but what was persisted."""
        self._held = _Held()
        if self._served:
            for backend in self._served.state.backends:
                await self.put_backend(backend, self._served.ready.get(backend.slot, frozenset()))
            await self.put_routes(self._served.state.routes)

    async def boot(self) -> None:
        """The same, with its machine."""
        if self._served:
            self._served = replace(self._served, ready={})
        self._is_open = False
        await self.restart()

    def open_request(self, host: str) -> UUID | None:
        """A client asks; the replica that got the request, or None where a page answered, or nobody."""
        if not self._is_open:
            return None
        instance_id = self._held.hosts.get(host)
        target = self._held.targets.get(instance_id, "") if instance_id else ""
        if not target.startswith("slot:"):
            return None
        places = self._held.slots.get(int(target[5:]), {})
        ready = [(place.open_requests, replica_id) for replica_id, place in places.items() if place.is_ready]
        if not ready:
            return None
        replica_id = min(ready)[1]
        places[replica_id].open_requests += 1
        return replica_id

    def close_request(self, replica_id: UUID) -> None:
        """The replica has answered."""
        for places in self._held.slots.values():
            if replica_id in places:
                places[replica_id].open_requests -= 1

    def _check(self, slot: int) -> None:
        if slot >= self._capacity:
            raise ProxyUnavailable(f"There is no slot {slot}.")

    def _remove_if_idle(self, places: dict[UUID, _Place], replica_id: UUID) -> None:
        if places[replica_id].is_going and not places[replica_id].open_requests:
            del places[replica_id]


def _seen(slot: int, places: dict[UUID, _Place]) -> ProxySlot:
    return ProxySlot(
        slot=slot,
        servers={replica_id: place.address for replica_id, place in places.items()},
        ready=frozenset(replica_id for replica_id, place in places.items() if place.is_ready),
        open_requests={replica_id: place.open_requests for replica_id, place in places.items()},
    )


def _target(target: int | Page) -> str:
    return f"slot:{target}" if isinstance(target, int) else f"page:{target}"
