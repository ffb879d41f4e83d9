"""Keeps the edge true: loads what is wanted, lets it be persisted, applies it step by step, reads back, and reports.

A nudge, a change of health or a timer starts a pass. Without the database it goes on with what it has; at a start it first
serves what was persisted, before it asks for more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from trackside.kit.errors import TracksideError
from trackside.rooms.networking import plan as planning
from trackside.rooms.networking.model import BackendReport, EdgeState
from trackside.rooms.networking.ports import Prober, Proxy, ProxyState, Resolver, Served

log = structlog.get_logger()

Load = Callable[[], Awaitable[EdgeState]]
Report = Callable[[Sequence[BackendReport], Mapping[UUID, int]], Awaitable[None]]
Wait = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Parts:
    """What the edge works with."""

    proxy: Proxy
    prober: Prober
    resolver: Resolver


@dataclass(frozen=True)
class Store:
    """Where wanted state comes from and reports go to; each may fail with anything while the database is away.

    `wait_for_change` returns when what `load` gives may have changed.
    """

    load: Load
    report: Report
    wait_for_change: Wait


@dataclass(frozen=True)
class Pace:
    """Seconds between passes without a nudge, and between readings of the store without one."""

    restless: float = 0.1  # something verifies or drains
    calm: float = 1.0  # HAProxy may have been started anew
    reload: float = 5.0  # a nudge may have been lost
    retry: float = 1.0  # after a failure


class EdgeKeeper:
    """The loop of the edge process."""

    def __init__(self, parts: Parts, store: Store, pace: Pace = Pace()) -> None:  # noqa: B008 — a frozen value
        self._parts = parts
        self._store = store
        self._pace = pace
        self._wanted: EdgeState | None = None
        self._served: Served | None = None
        self._capacity = 0
        self._is_stale = True
        self._wake = asyncio.Event()
        self._sent_backends: dict[UUID, BackendReport] = {}
        self._sent_routes: dict[UUID, int] = {}
        self._told_failure = ""

    async def run(self) -> None:
        """Run until cancelled; no failure ends it."""
        persisted = await self._parts.proxy.persisted()
        self._wanted = persisted.state if persisted else None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_store())
            group.create_task(self._watch_health())
            group.create_task(self._passes())

    async def _watch_store(self) -> None:
        """Mark what is wanted as stale at every nudge, and now and then without one."""
        while True:
            try:
                async with asyncio.timeout(self._pace.reload):
                    await self._store.wait_for_change()
            except TimeoutError:
                pass
            except Exception as error:  # noqa: BLE001 — whatever the database's driver raises
                self._tell("edge.nudges_away", error)
                await asyncio.sleep(self._pace.retry)
            self._is_stale = True
            self._wake.set()

    async def _watch_health(self) -> None:
        while True:
            await self._parts.prober.wait_for_change()
            self._wake.set()

    async def _passes(self) -> None:
        first = True
        while True:
            if not first or self._wanted is None:
                await self._load()
            first = False
            pause = await self._pass()
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    async def _load(self) -> None:
        if not self._is_stale:
            return
        self._is_stale = False
        try:
            self._wanted = await self._store.load()
        except Exception as error:  # noqa: BLE001 — whatever the database's driver raises
            self._is_stale = True
            self._tell("edge.store_away", error)

    async def _pass(self) -> float:
        """One pass; the seconds until the next one without a wake."""
        if self._wanted is None:
            return self._pace.retry
        try:
            seen = await self._converge(self._wanted)
        except TracksideError as error:
            self._tell("edge.pass_failed", error)
            self._capacity = 0
            return self._pace.retry
        self._told_failure = ""
        restless = planning.is_restless(self._wanted, seen, self._parts.prober.health())
        return self._pace.restless if restless else self._pace.calm

    async def _converge(self, wanted: EdgeState) -> ProxyState:
        proxy, prober = self._parts.proxy, self._parts.prober
        seen = await proxy.observe()
        if not self._capacity:
            self._capacity = await proxy.capacity()
        prober.watch(wanted.backends, frozenset().union(*(slot.ready for slot in seen.slots.values())))
        plan = planning.plan(wanted, seen, prober.health(), self._capacity)
        if plan.served != self._served:
            # Before any change: whoever dies from here on comes back with what was about to be served.
            await proxy.persist(plan.served)
            self._served = plan.served
        for step in plan.steps:
            await self._apply(step)
        if plan.steps:
            seen = await proxy.observe()
        await self._parts.resolver.serve(planning.answered_names(wanted.names, plan.served), wanted.networks)
        await self._report(wanted, plan.served, seen)
        return seen

    async def _apply(self, step: planning.Step) -> None:
        proxy = self._parts.proxy
        match step:
            case planning.Grow(slots):
                await proxy.grow(slots)
                self._capacity = await proxy.capacity()
            case planning.PutBackend(backend, ready):
                await proxy.put_backend(backend, ready)
            case planning.PutRoutes(routes):
                await proxy.put_routes(routes)
            case planning.ClearBackend(slot):
                await proxy.clear_backend(slot)

    async def _report(self, wanted: EdgeState, served: Served, seen: ProxyState) -> None:
        """Report what has changed since the last report that arrived."""
        reports = planning.backend_reports(wanted, served, seen, self._parts.prober.health()).values()
        routed = set(seen.targets.values())
        changed = [report for report in reports if self._is_news(report, is_routed=f"slot:{report.slot}" in routed)]
        applied = planning.applied_routes(wanted, seen)
        news = {key: revision for key, revision in applied.items() if self._sent_routes.get(key) != revision}
        if changed or news:
            try:
                await self._store.report(changed, news)
            except Exception as error:  # noqa: BLE001 — whatever the database's driver raises
                self._tell("edge.report_waits", error)
                return
        self._sent_backends |= {report.deployment_id: report for report in changed}
        known = {backend.deployment_id for backend in wanted.backends}
        self._sent_backends = {key: value for key, value in self._sent_backends.items() if key in known}
        self._sent_routes = applied

    def _is_news(self, report: BackendReport, *, is_routed: bool) -> bool:
        """Open requests of a replica that takes requests change all the time: they alone are no news."""
        sent = self._sent_backends.get(report.deployment_id)
        if sent is None or not is_routed:
            return sent != report
        closing = {key: count for key, count in report.open_by_replica.items() if key not in report.health}
        told = {key: count for key, count in sent.open_by_replica.items() if key in closing}
        counts = {"open_requests": 0, "open_by_replica": {}}
        return closing != told or replace(sent, **counts) != replace(report, **counts)

    def _tell(self, event: str, error: Exception) -> None:
        """Log a failure once, not at every pass."""
        if (failure := f"{event}: {error}") != self._told_failure:
            self._told_failure = failure
            log.warning(event, error=str(error))
