"""Keeps the edge true: loads what is wanted, lets it be persisted, applies it step by step, reads back, and reports.

A nudge, a change of health or a timer starts a pass. Without the database it goes on with what it has; at a start it
first serves what was persisted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import get_args
from uuid import UUID

import structlog

from trackside.kit import failpoints
from trackside.kit.errors import TracksideError
from trackside.rooms.networking import plan as planning
from trackside.rooms.networking.model import BackendReport, EdgeState
from trackside.rooms.networking.ports import Prober, Proxy, ProxyState, Resolver, Served

log = structlog.get_logger()
PERSIST = "PersistServed"
failpoints.declare_around([PERSIST, *(step.__name__ for step in get_args(planning.Step))])

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
    boot: float = 30.0  # for every app to be well before the proxy opens all the same


@dataclass(frozen=True)
class Truth:
    """What a pass has found, to be reported."""

    reports: Mapping[int, BackendReport]
    applied: Mapping[UUID, int]
    staying: Mapping[int, frozenset[UUID]]
    routed: frozenset[str]
    instances: Mapping[int, UUID]


class EdgeKeeper:
    """The loop of the edge process."""

    def __init__(self, parts: Parts, store: Store, pace: Pace | None = None) -> None:
        self._parts = parts
        self._store = store
        self._pace = pace or Pace()
        self._wanted: EdgeState | None = None
        self._served = Served()
        self._capacity = 0
        self._wake = asyncio.Event()
        self._patient_until = 0.0
        self._reporter = Reporter(store.report, self._pace.retry)

    async def run(self) -> None:
        """Run until cancelled; no failure ends it."""
        self._patient_until = asyncio.get_running_loop().time() + self._pace.boot
        persisted = await self._parts.proxy.persisted()
        if persisted and persisted.state.routes:  # else nothing is known yet: the file may be lost
            self._wanted, self._served = persisted.state, persisted
            await self._serve_names(persisted.state)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._passes())
            group.create_task(self._follow_store())
            group.create_task(self._follow_health())
            group.create_task(self._reporter.run())

    async def _follow_store(self) -> None:
        """Load what is wanted at every nudge, and now and then without one. A slow database holds up nothing else."""
        told = False
        while True:
            # Listening starts before loading, and goes on when the time is up: no nudge falls in between.
            nudge = asyncio.ensure_future(self._store.wait_for_change())
            try:
                while not nudge.done():
                    self._wanted = await self._store.load()
                    told = False
                    self._wake.set()
                    await asyncio.wait({nudge}, timeout=self._pace.reload)
                nudge.result()
            except Exception as error:  # noqa: BLE001 — whatever the database's driver raises
                if not told:
                    log.warning("edge.store_away", error=str(error))
                told = True
                await asyncio.sleep(self._pace.retry)
            finally:
                nudge.cancel()
                await asyncio.gather(nudge, return_exceptions=True)

    async def _follow_health(self) -> None:
        while True:
            await self._parts.prober.wait_for_change()
            self._wake.set()

    async def _passes(self) -> None:
        told = ""
        while True:
            pause, failure = await self._pass()
            if failure and failure != told:
                log.warning("edge.pass_failed", error=failure)
            told = failure
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()

    async def _pass(self) -> tuple[float, str]:
        """One pass; the seconds until the next one without a wake, and why this one failed."""
        wanted = self._wanted
        if wanted is None:
            return self._pace.calm, ""
        try:
            seen = await self._converge(wanted)
        except TracksideError as error:
            self._capacity = 0
            await self._serve_names(wanted)
            return self._pace.retry, error.sentence
        restless = planning.is_restless(wanted, seen, self._parts.prober.health())
        return (self._pace.restless if restless else self._pace.calm), ""

    async def _converge(self, wanted: EdgeState) -> ProxyState:
        proxy, prober = self._parts.proxy, self._parts.prober
        seen = await proxy.observe()
        self._capacity = self._capacity or await proxy.capacity()
        prober.watch(wanted.backends, frozenset[UUID]().union(*(slot.ready for slot in seen.slots.values())))
        is_patient = asyncio.get_running_loop().time() < self._patient_until
        plan = planning.plan(wanted, seen, prober.health(), self._capacity, is_patient=is_patient)
        if plan.served != self._served:
            # Before any change: whoever dies from here on comes back with what was about to be served.
            with failpoints.around(PERSIST):
                await proxy.persist(plan.served)
            self._served = plan.served
        for step in plan.steps:
            with failpoints.around(type(step).__name__):
                await self._apply(step)
        if plan.steps:
            seen = await proxy.observe()
        await self._serve_names(wanted)
        self._reporter.take(
            Truth(
                planning.backend_reports(wanted, plan.served, seen, prober.health()),
                planning.applied_routes(wanted, seen),
                {backend.slot: planning.staying_replicas(backend) for backend in wanted.backends},
                frozenset(seen.targets.values()),
                {backend.slot: backend.service_instance_id for backend in wanted.backends},
            )
        )
        return seen

    async def _serve_names(self, wanted: EdgeState) -> None:
        await self._parts.resolver.serve(planning.answered_names(wanted.names, self._served), wanted.networks)

    async def _apply(self, step: planning.Step) -> None:
        proxy = self._parts.proxy
        match step:
            case planning.Grow(slots):
                await proxy.persist(self._served)
                await proxy.grow(slots)
                self._capacity = await proxy.capacity()
            case planning.PutBackend(backend, ready):
                await proxy.put_backend(backend, ready)
            case planning.PutRoutes(routes):
                await proxy.put_routes(routes)
            case planning.ClearBackend(slot):
                await proxy.clear_backend(slot)
            case planning.Open():
                await proxy.persist(self._served)
                await proxy.open()


class Reporter:
    """Sends what is new in the latest truth, and only when it arrived takes it for told."""

    def __init__(self, report: Report, retry: float) -> None:
        self._report = report
        self._retry = retry
        self._latest: Truth | None = None
        self._fresh = asyncio.Event()
        self._sent_backends: Mapping[int, BackendReport] = {}
        self._sent_routes: Mapping[UUID, int] = {}

    def take(self, truth: Truth) -> None:
        """Have this reported; one that was not sent yet is replaced."""
        self._latest = truth
        self._fresh.set()

    async def run(self) -> None:
        """Run until cancelled."""
        told = False
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            try:
                if self._latest:
                    await self._send(self._latest)
                told = False
            except Exception as error:  # noqa: BLE001 — whatever the database's driver raises
                if not told:
                    log.warning("edge.report_waits", error=str(error))
                told = True
                self._fresh.set()
                await asyncio.sleep(self._retry)

    async def _send(self, truth: Truth) -> None:
        routes = {key: revision for key, revision in truth.applied.items() if self._sent_routes.get(key) != revision}
        # Who waits for a swap waits next for the old backend's open requests, as they are after it: they go along.
        backends = [
            report
            for slot, report in truth.reports.items()
            if truth.instances[slot] in routes or self._is_news(truth, slot, report)
        ]
        if backends or routes:
            await self._report(backends, routes)
        told = {report.slot: report for report in backends}
        self._sent_backends = {
            slot: told.get(slot) or self._sent_backends.get(slot, report) for slot, report in truth.reports.items()
        }
        self._sent_routes = truth.applied

    def _is_news(self, truth: Truth, slot: int, report: BackendReport) -> bool:
        is_routed = f"slot:{slot}" in truth.routed
        return planning.is_news(report, self._sent_backends.get(slot), staying=truth.staying[slot], is_routed=is_routed)
