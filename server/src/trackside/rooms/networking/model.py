"""Values of the networking room."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple
from uuid import UUID


class Protocol(StrEnum):
    """What the edge speaks to the replicas. `H2C` is HTTP/2 without TLS, which gRPC needs."""

    HTTP1 = "http1"
    H2C = "h2c"


class ProbeKind(StrEnum):
    HTTP = "http"
    TCP = "tcp"


@dataclass(frozen=True)
class Probe:
    """How the edge asks a replica whether it is well. Times in seconds."""

    kind: ProbeKind
    path: str = "/"
    timeout: float = 5.0
    interval: float = 5.0  # between probes once healthy; while verifying the edge asks every 0.25 s


@dataclass(frozen=True)
class Server:
    """One replica at the edge. `is_leaving`: takes no new requests (scaled away), open ones finish."""

    replica_id: UUID
    address: IPv4Address
    port: int
    is_leaving: bool = False


@dataclass(frozen=True)
class Backend:
    """A deployment's replicas in a slot. Requests reach it only where a route names its slot."""

    slot: int
    service_instance_id: UUID
    deployment_id: UUID
    servers: tuple[Server, ...]
    probe: Probe | None
    protocol: Protocol
    revision: int


@dataclass(frozen=True)
class BackendShape:
    """What a backend is to be: its servers, how they are probed, and what is spoken to them."""

    servers: tuple[Server, ...]
    probe: Probe | None
    protocol: Protocol = Protocol.HTTP1


class Page(StrEnum):
    """A route's target where no replica serves: the error page that names the cause."""

    STARTING = "starting"  # a first deployment is on its way
    CRASHED = "crashed"
    STOPPED = "stopped"  # no active deployment: taken down, or never deployed


@dataclass(frozen=True)
class Route:
    """Where a service instance's hosts lead: a slot, or a page."""

    service_instance_id: UUID
    hosts: tuple[str, ...]
    target: int | Page
    revision: int


@dataclass(frozen=True)
class Name:
    """A private name: `<service>.railway.internal`, answered to clients inside `network` only."""

    service: str
    network: IPv4Network
    addresses: tuple[IPv4Address, ...]  # verified replicas that are not draining


@dataclass(frozen=True)
class EdgeState:
    """All that the edge needs to serve; one consistent reading of the database, also written to disk for a cold start."""

    backends: tuple[Backend, ...] = ()
    routes: tuple[Route, ...] = ()
    names: tuple[Name, ...] = ()
    networks: tuple[IPv4Network, ...] = ()  # every environment's subnet; its first address is the resolver's


@dataclass(frozen=True)
class Health:
    """What the edge's prober last saw of a replica. `detail` is a sentence for people: status, first bytes, or error.

    `well_until`: of one that is unhealthy, its last good answer; None where there was none.
    """

    is_healthy: bool
    detail: str
    since: datetime
    well_until: datetime | None = None


@dataclass(frozen=True)
class BackendReport:
    """What the edge did and saw of a backend: the revision it has applied, health by replica, open requests in total and by replica."""

    slot: int
    deployment_id: UUID
    revision: int
    health: Mapping[UUID, Health] = field(default_factory=dict[UUID, Health])
    open_requests: int = 0
    open_by_replica: Mapping[UUID, int] = field(default_factory=dict[UUID, int])


class Access(NamedTuple):
    """One line of the access log. Times in milliseconds; numbers that are only passed on are texts, of digits alone. A tuple, for
    there are very many of them.
    """

    at: datetime
    service_instance_id: UUID | None
    deployment_id: UUID | None
    replica_id: UUID | None
    request_id: str
    method: str
    host: str
    path: str
    status: int
    total_ms: str
    upstream_ms: str
    bytes_sent: str
    bytes_received: str
    client: str
    user_agent: str
    ended: str  # the proxy's termination state


RESERVED_HOSTS = frozenset({"api", "www", "admin"})
LABEL_LENGTH = 63


@dataclass(frozen=True)
class Addressing:
    """The installation's names and numbers: host names under `base_domain`, subnets (/24) out of `pool`, and the number
    of slots of the edge, which is that of backends at once.
    """

    base_domain: str
    pool: IPv4Network
    slots: int = 10_000

    @property
    def subnets(self) -> int:
        """How many environments the pool has room for."""
        return 1 << max(0, 24 - self.pool.prefixlen)

    def subnet(self, number: int) -> IPv4Network:
        """The numbered /24 of the pool."""
        return IPv4Network((int(self.pool.network_address) + (number << 8), 24))

    def hosts(self, service: str, environment: str, suffixes: Iterable[str]) -> Iterator[str]:
        """Host names to try in order: `<service>-<environment>.<base>`, then the same with each suffix."""
        label = re.sub(r"[^a-z0-9-]", "-", f"{service}-{environment}".lower())[: LABEL_LENGTH - 5].strip("-")
        if label not in RESERVED_HOSTS:
            yield f"{label}.{self.base_domain}"
        for suffix in suffixes:
            yield f"{label}-{suffix}.{self.base_domain}"
