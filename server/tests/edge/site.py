"""An edge with everything real but the database: what is wanted is set by the test, reports are collected."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from uuid import UUID

from edge.apps import App
from edge.haproxy_process import HAProxyProcess
from trackside.adapters.prober.prober import ReplicaProber
from trackside.kit.clock import SystemClock
from trackside.kit.ids import new_id
from trackside.rooms.networking.converge import EdgeKeeper, Pace, Parts, Store
from trackside.rooms.networking.model import (
    Backend,
    BackendReport,
    EdgeState,
    Name,
    Page,
    Probe,
    ProbeKind,
    Protocol,
    Route,
)

HEALTH = Probe(ProbeKind.HTTP, "/health", timeout=2.0, interval=0.5)


class Unresolved:
    """A resolver for tests that ask no names."""

    async def serve(self, names: Sequence[Name], networks: Sequence[IPv4Network]) -> None:
        """Answer nothing."""


@dataclass
class Wanted:
    """Plays the database: the wanted state, the nudge, and the latest report of each kind."""

    state: EdgeState = field(default_factory=EdgeState)
    reports: dict[UUID, BackendReport] = field(default_factory=dict)
    applied: dict[UUID, int] = field(default_factory=dict)
    sent: int = 0
    is_away: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, backends: Sequence[Backend] = (), routes: Sequence[Route] = ()) -> None:
        """Want exactly these."""
        self.state = replace(self.state, backends=tuple(backends), routes=tuple(routes))
        self.changed.set()

    def _fail_if_away(self) -> None:
        if self.is_away:
            raise ConnectionError("the database is away")

    async def load(self) -> EdgeState:
        self._fail_if_away()
        return self.state

    async def wait_for_change(self) -> None:
        self._fail_if_away()
        await self.changed.wait()
        self.changed.clear()

    async def report(self, reports: Sequence[BackendReport], applied: Mapping[UUID, int]) -> None:
        self._fail_if_away()
        self.sent += 1
        self.reports |= {report.deployment_id: report for report in reports}
        self.applied |= applied


class Site:
    """One service instance on a running edge."""

    def __init__(self, process: HAProxyProcess, wanted: Wanted) -> None:
        self.process = process
        self.wanted = wanted
        self.instance: UUID = new_id()
        self.host = "app.localhost"
        self._revision = 0

    def backend(self, slot: int, *apps: App, probe: Probe | None = HEALTH, leaving: Sequence[App] = ()) -> Backend:
        """A backend of a fresh deployment; give it to `again` to change its servers."""
        servers = tuple(app.server(is_leaving=app in leaving) for app in apps)
        self._revision += 1
        return Backend(slot, self.instance, new_id(), servers, probe, Protocol.HTTP1, self._revision)

    def again(self, backend: Backend, *apps: App, leaving: Sequence[App] = ()) -> Backend:
        """The same deployment's backend with other servers."""
        self._revision += 1
        servers = tuple(app.server(is_leaving=app in leaving) for app in apps)
        return replace(backend, servers=servers, revision=self._revision)

    def route(self, target: int | Page) -> Route:
        self._revision += 1
        return Route(self.instance, (self.host,), target, self._revision)

    async def apply(self, backends: Sequence[Backend], route: Route) -> None:
        """Want this, and wait until the edge reports that it is so."""
        self.wanted.put(backends, [route])
        await until(lambda: self.wanted.applied.get(self.instance) == route.revision)
        for backend in backends:
            await until(lambda backend=backend: self.revision(backend) == backend.revision)

    async def verified(self, backend: Backend) -> None:
        """Wait until every staying replica of the backend is well."""
        staying = {server.replica_id for server in backend.servers if not server.is_leaving}
        await until(lambda: staying <= {key for key, value in self.health(backend).items() if value})

    def revision(self, backend: Backend) -> int:
        report = self.wanted.reports.get(backend.deployment_id)
        return report.revision if report else -1

    def health(self, backend: Backend) -> dict[UUID, bool]:
        report = self.wanted.reports.get(backend.deployment_id)
        return {key: value.is_healthy for key, value in report.health.items()} if report else {}


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Poll until the condition holds. Errors: TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def keeping(process: HAProxyProcess, wanted: Wanted, *, boot: float = 30.0) -> AsyncIterator[EdgeKeeper]:
    """The edge process' loop, until the block ends: as if it were killed there. `boot`: see `Pace`."""
    prober = ReplicaProber(SystemClock())
    keeper = EdgeKeeper(
        Parts(process.proxy(), prober, Unresolved()),
        Store(wanted.load, wanted.report, wanted.wait_for_change),
        Pace(boot=boot),
    )
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await prober.stop()
