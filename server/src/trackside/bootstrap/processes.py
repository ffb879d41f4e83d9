"""The platform's processes, each put together here."""

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from trackside.adapters.prober.prober import ReplicaProber
from trackside.adapters.proxy.access_log import AccessLog
from trackside.adapters.proxy.haproxy import HAProxy
from trackside.adapters.proxy.options import HAProxyOptions
from trackside.adapters.resolver.resolver import DnsResolver, ResolverOptions
from trackside.adapters.resolver.upstream import Nameservers
from trackside.bootstrap.house import House, settings
from trackside.config import Settings
from trackside.entry.edge import run as edge
from trackside.entry.worker import builder, deployer, monitor
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.layout import Layout, system_layout
from trackside.kit.clock import SystemClock
from trackside.kit.db import Database
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Access, BackendReport, EdgeState
from trackside.rooms.telemetry import service as telemetry
from trackside.rooms.telemetry.ports import LogStore

OWNERS_SECONDS = 5.0
"""Between looks at whose the service instances are: what was deleted has no requests kept any more."""


async def run_deployer() -> None:
    """The deployer, until cancelled."""
    await deployer.run(House(settings()).deployer())


async def run_builder() -> None:
    """The builder, until cancelled."""
    await builder.run(House(settings()).builder())


async def run_monitor() -> None:
    """The monitor, until cancelled: collects what containers log, and takes over the access log."""
    house = House(settings())
    await monitor.run(house.monitor(access_log(house).run))


async def run_edge() -> None:
    """The edge process, until told to stop."""
    await edge.run(Edge(House(settings())).process())


def haproxy_options(found: Settings) -> HAProxyOptions:
    """Where HAProxy listens and lives."""
    return HAProxyOptions(
        found.home / "haproxy",
        Path(f"/run/trackside-{found.installation}/haproxy"),
        host=found.edge_host,
        port=found.edge_port,
        user="haproxy",
    )


def access_log(house: House) -> AccessLog:
    """The reader of HAProxy's log. Whoever is served comes before it, until it has fallen far behind."""
    layout = system_layout(house.settings.installation, house.settings.home)
    return AccessLog(haproxy_options(house.settings), Accesses(house.database, house.log_store()), Hurry(layout))


class Hurry:
    """Takes this process from the control group of what may come later into that of what works, while there is much to do."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._is_hurried = False

    def __call__(self, is_behind: bool) -> None:
        """Where it may not leave its group it stays there."""
        if is_behind == self._is_hurried:
            return
        group = self._layout.working_group if is_behind else self._layout.behind_group
        with suppress(OSError):
            ControlGroups(system_hierarchies()).join(group, os.getpid())
            self._is_hurried = is_behind


class Accesses:
    """Keeps what was requested of each service instance that there is."""

    def __init__(self, database: Database, store: LogStore) -> None:
        self._database = database
        self._keeper = telemetry.AccessKeeper(store)
        self._owners: dict[UUID, UUID] = {}
        self._nobodys: frozenset[UUID] = frozenset()
        self._read_at = float("-inf")

    async def __call__(self, entries: Sequence[Access]) -> None:
        """Errors: `LogsUnavailable`, and those of the database where it must say whose something is."""
        asked = {entry.service_instance_id for entry in entries if entry.service_instance_id}
        await self._refresh(asked - self._owners.keys() - self._nobodys)
        await self._keeper.keep(entries, self._owners)

    async def _refresh(self, unknown: set[UUID]) -> None:
        """Read anew from time to time, and at once for one that was not there at the last time: its first requests count."""
        now = time.monotonic()
        if not unknown and now < self._read_at + OWNERS_SECONDS:
            return
        try:
            async with self._database.transaction() as tx:
                self._owners = await networking.workspaces(tx)
            self._nobodys = (self._nobodys | unknown if unknown else frozenset[UUID]()) - self._owners.keys()
        except (SQLAlchemyError, OSError):
            if unknown:
                raise
        self._read_at = now


class Edge:
    """The edge process, put together."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._options = haproxy_options(house.settings)
        self._prober = ReplicaProber(SystemClock())
        self._resolver = DnsResolver(
            ResolverOptions(outside_only=(IPv4Network(house.settings.build_network)[1],)),
            Nameservers(house.settings.upstream_resolvers),
        )
        self._notices: AsyncIterator[str] | None = None

    def process(self) -> edge.EdgeProcess:
        """What the process runs, and how it is put away."""
        parts = networking.Parts(HAProxy(self._options), self._prober, self._resolver)
        store = networking.Store(self._load, self._report, self._wait_for_change)
        return edge.EdgeProcess(networking.EdgeKeeper(parts, store).run, self._stop)

    async def _load(self) -> EdgeState:
        async with self._house.database.transaction() as tx:
            return await networking.edge_state(tx, self._house.addressing)

    async def _report(self, reports: Sequence[BackendReport], applied: Mapping[UUID, int]) -> None:
        async with self._house.database.transaction() as tx:
            await networking.save_reports(tx, reports, applied)

    async def _wait_for_change(self) -> None:
        """Until the next notice; a connection that broke is made anew."""
        if self._notices is None:
            self._notices = self._house.database.listen(networking.EDGE_CHANNEL)
        try:
            await anext(self._notices)
        except BaseException:
            self._notices = None
            raise

    async def _stop(self) -> None:
        await self._prober.stop()
        await self._resolver.stop()
        await self._house.database.close()
