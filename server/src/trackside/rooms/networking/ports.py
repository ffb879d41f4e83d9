"""What networking asks of the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Protocol
from uuid import UUID

from trackside.rooms.networking.model import Backend, EdgeState, Health, Name, Route


@dataclass(frozen=True)
class ProxySlot:
    """What the proxy really holds in one slot: servers by replica, which take requests, and their open requests."""

    slot: int
    servers: Mapping[UUID, str]  # replica id → "address:port"
    ready: frozenset[UUID]
    open_requests: Mapping[UUID, int]


@dataclass(frozen=True)
class ProxyState:
    """What the proxy really does now, read back from it."""

    slots: Mapping[int, ProxySlot]  # occupied slots only
    hosts: Mapping[str, UUID]  # host → service instance
    targets: Mapping[UUID, str]  # service instance → "slot:<n>" or "page:<name>"
    is_open: bool = True  # clients can reach it


@dataclass(frozen=True)
class Served:
    """What a cold start of the edge is to serve: routes as applied, and by slot the replicas that take requests."""

    state: EdgeState = field(default_factory=EdgeState)
    ready: Mapping[int, frozenset[UUID]] = field(default_factory=dict[int, frozenset[UUID]])


class Proxy(Protocol):
    """The programmable proxy at the edge. Each verb is idempotent and returns when the proxy answers for the change.

    Errors of every verb: `networking.errors.ProxyUnavailable`.
    """

    async def observe(self) -> ProxyState: ...

    async def persist(self, served: Served) -> None:
        """Have the proxy serve exactly this after it was killed and started again. The running one stays as it is."""
        ...

    async def persisted(self) -> Served | None:
        """What was persisted last, by whichever process; None where there is nothing, or nothing readable."""
        ...

    async def put_backend(self, backend: Backend, ready: frozenset[UUID]) -> None:
        """Make the slot hold exactly the backend's servers; those in `ready` and not leaving take requests.

        A server that is to go is removed only when it has no open request; until then it stays, closed to new ones.
        """
        ...

    async def clear_backend(self, slot: int) -> None:
        """Empty the slot. Open requests on it are cut: the caller has drained before.

        A server that is just closing may still be seen, not ready, for a moment; call again.
        """
        ...

    async def put_routes(self, routes: Sequence[Route]) -> None:
        """Make host and target maps equal to these routes. A changed target switches all new requests in one step."""
        ...

    async def open(self) -> None:
        """Listen for clients. What was persisted last must be what is served.

        After a boot of its machine a proxy is closed, and none of its replicas is ready, until it is told this; one that was
        open is so again after a crash.
        """
        ...

    async def capacity(self) -> int:
        """How many slots there are now."""
        ...

    async def grow(self, slots: int) -> None:
        """Have at least this many slots, without losing a request. What was persisted last must be what is served."""
        ...


class Prober(Protocol):
    """Asks replicas whether they are well, again and again."""

    def watch(self, backends: Sequence[Backend], trusted: frozenset[UUID]) -> None:
        """Probe exactly these backends' servers from now on.

        Replicas in `trusted` served already when first seen: without health until three probes failed or one passed.
        """
        ...

    def health(self) -> Mapping[UUID, Health]:
        """What was last seen, by replica; without those not probed yet."""
        ...

    async def wait_for_change(self) -> None:
        """Return when any health has changed since the last return."""
        ...


class Resolver(Protocol):
    """Answers private names inside networks, and passes other names on."""

    async def serve(self, names: Sequence[Name], networks: Sequence[IPv4Network]) -> None:
        """Answer these names in these networks from now on, and in no others."""
        ...
