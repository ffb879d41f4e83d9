"""What must change at the edge so that it serves what is wanted.

Pure: what is wanted, what the proxy holds, and what the prober has seen go in; what to serve, and the steps to it, come
out. A backend takes requests only with replicas that are well, and a route moves to it only then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from trackside.rooms.networking.model import (
    Backend,
    BackendReport,
    EdgeState,
    Health,
    Name,
    Page,
    Route,
)
from trackside.rooms.networking.ports import ProxySlot, ProxyState, Served

FULL = 0.8
"""The part of all slots in use at which the proxy grows."""
EMPTY = ProxySlot(-1, {}, frozenset(), {})


@dataclass(frozen=True)
class Grow:
    slots: int


@dataclass(frozen=True)
class PutBackend:
    backend: Backend
    ready: frozenset[UUID]


@dataclass(frozen=True)
class PutRoutes:
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class ClearBackend:
    slot: int


@dataclass(frozen=True)
class Open:
    """Let clients in."""


Step = Grow | PutBackend | PutRoutes | ClearBackend | Open


@dataclass(frozen=True)
class Plan:
    """What to serve from now on (also after a cold start), and the steps from what is seen to that."""

    served: Served
    steps: tuple[Step, ...]


# --- replicas ---


def ready_replicas(backend: Backend, seen: ProxySlot, health: Mapping[UUID, Health]) -> frozenset[UUID]:
    """The replicas of a backend that take requests.

    A new one waits for its first good probe; one that served already when the edge process started is trusted until it
    was probed. Where none would be left, those that served go on: a doubtful answer is better than none.
    """
    staying = staying_replicas(backend)
    if backend.probe is None:
        return staying
    trusted = seen.ready & staying
    return frozenset(key for key in staying if (health[key].is_healthy if key in health else key in trusted)) or trusted


def _holds(seen: ProxySlot, backend: Backend, ready: frozenset[UUID]) -> bool:
    """Whether the slot holds exactly the backend's servers, with exactly these open to requests."""
    wanted = {server.replica_id: f"{server.address}:{server.port}" for server in backend.servers}
    return seen.servers == wanted and seen.ready == ready


# --- routes ---


def effective_route(
    route: Route, ready: Mapping[int, frozenset[UUID]], owners: Mapping[int, UUID], seen: ProxyState
) -> Route:
    """The route as it can be now: it stays where it leads until the wanted backend has a replica that takes requests.

    `owners` tells whose service instance each wanted slot is: a slot that was given to another is never followed there.
    """
    if isinstance(route.target, Page):
        return route
    instance_id = route.service_instance_id
    if owners.get(route.target) == instance_id and ready.get(route.target):
        return route
    return replace(route, target=_present_target(instance_id, owners, seen))


def _present_target(instance_id: UUID, owners: Mapping[int, UUID], seen: ProxyState) -> int | Page:
    kind, _, value = seen.targets.get(instance_id, "").partition(":")
    if kind == "slot" and owners.get(int(value), instance_id) == instance_id and int(value) in seen.slots:
        return int(value)
    return Page(value) if kind == "page" else Page.STARTING


def _routes_differ(routes: Sequence[Route], seen: ProxyState) -> bool:
    hosts = {host.lower(): route.service_instance_id for route in routes for host in route.hosts}
    targets = {route.service_instance_id: target_text(route.target) for route in routes}
    return hosts != dict(seen.hosts) or targets != dict(seen.targets)


def target_text(target: int | Page) -> str:
    """A target as `ProxyState` has it."""
    return f"slot:{target}" if isinstance(target, int) else f"page:{target}"


# --- the whole ---


def plan(
    wanted: EdgeState, seen: ProxyState, health: Mapping[UUID, Health], capacity: int, *, is_patient: bool = True
) -> Plan:
    """What to serve, and the steps to it in their order.

    A proxy that is closed, for its machine has just booted, opens when every route has a replica that is well: no host is
    answered before it is known to be answered by its own app. One that is not patient any more opens without the rest.
    """
    ready = {b.slot: ready_replicas(b, seen.slots.get(b.slot, EMPTY), health) for b in wanted.backends}
    owners = {backend.slot: backend.service_instance_id for backend in wanted.backends}
    routes = tuple(effective_route(route, ready, owners, seen) for route in wanted.routes)
    steps: list[Step] = []
    if slots := needed_slots(wanted.backends, capacity):
        steps.append(Grow(slots))
    strangers = _cut_off_strangers(routes, owners, seen)
    steps += strangers
    for backend in wanted.backends:
        if not _holds(seen.slots.get(backend.slot, EMPTY), backend, ready[backend.slot]):
            steps.append(PutBackend(backend, ready[backend.slot]))
    if (steps and isinstance(steps[0], PutRoutes)) or _routes_differ(routes, seen):
        steps.append(PutRoutes(routes))
    routed = {route.target for route in routes}
    steps += [ClearBackend(slot) for slot in sorted(seen.slots) if slot not in owners and slot not in routed]
    if not seen.is_open and (not is_patient or _all_lead_somewhere(wanted.routes, ready)):
        steps.append(Open())
    return Plan(Served(replace(wanted, routes=routes), ready), tuple(steps))


def _all_lead_somewhere(routes: Iterable[Route], ready: Mapping[int, frozenset[UUID]]) -> bool:
    """Whether each route leads to a page or to a replica that takes requests."""
    return all(isinstance(route.target, Page) or ready.get(route.target) for route in routes)


def _cut_off_strangers(routes: Sequence[Route], owners: Mapping[int, UUID], seen: ProxyState) -> list[Step]:
    """Before a slot gets another's replicas, no route of its former owner may lead there any more."""
    targets = ((instance_id, target) for instance_id, target in seen.targets.items() if target.startswith("slot:"))
    if all(owners.get(int(target[5:]), instance_id) == instance_id for instance_id, target in targets):
        return []
    present = (replace(route, target=_present_target(route.service_instance_id, owners, seen)) for route in routes)
    return [PutRoutes(tuple(present))]


def needed_slots(backends: Sequence[Backend], capacity: int) -> int:
    """How many slots there should be; 0 where there are enough."""
    used = max([len(backends), *(backend.slot + 1 for backend in backends)])
    slots = capacity
    while used > slots * FULL:
        slots *= 2
    return slots if slots > capacity else 0


# --- names ---


def answered_names(names: Iterable[Name], served: Served) -> tuple[Name, ...]:
    """The names with only those addresses whose replicas take requests; all of them where none would be left."""
    closed = {
        server.address
        for backend in served.state.backends
        for server in backend.servers
        if server.replica_id not in served.ready.get(backend.slot, frozenset())
    }
    answered: list[Name] = []
    for name in names:
        well = tuple(address for address in name.addresses if address not in closed)
        answered.append(replace(name, addresses=well or name.addresses))
    return tuple(answered)


# --- reports ---


def backend_reports(
    wanted: EdgeState, served: Served, seen: ProxyState, health: Mapping[UUID, Health]
) -> dict[int, BackendReport]:
    """By slot, what is true of each wanted backend; the revision is -1 until the proxy holds it as wanted."""
    reports: dict[int, BackendReport] = {}
    for backend in wanted.backends:
        slot = seen.slots.get(backend.slot, EMPTY)
        replicas = [server.replica_id for server in backend.servers]
        reports[backend.slot] = BackendReport(
            slot=backend.slot,
            deployment_id=backend.deployment_id,
            revision=backend.revision if _answers_for(slot, backend, served.ready[backend.slot]) else -1,
            health={key: health[key] for key in replicas if key in health},
            open_requests=sum(slot.open_requests.values()),
            open_by_replica=dict(slot.open_requests),
        )
    return reports


def _answers_for(seen: ProxySlot, backend: Backend, ready: frozenset[UUID]) -> bool:
    """Whether the backend is applied. Servers that are on their way out, closed, don't matter."""
    wanted = {server.replica_id: f"{server.address}:{server.port}" for server in backend.servers}
    return seen.ready == ready and all(seen.servers.get(key) == address for key, address in wanted.items())


def applied_routes(wanted: EdgeState, seen: ProxyState) -> dict[UUID, int]:
    """By service instance, the revision of each wanted route that the proxy follows."""
    hosts: dict[UUID, set[str]] = {}
    for host, instance_id in seen.hosts.items():
        hosts.setdefault(instance_id, set()).add(host)
    return {
        route.service_instance_id: route.revision
        for route in wanted.routes
        if seen.targets.get(route.service_instance_id) == target_text(route.target)
        and hosts.get(route.service_instance_id, set()) == {host.lower() for host in route.hosts}
    }


def is_restless(wanted: EdgeState, seen: ProxyState, health: Mapping[UUID, Health]) -> bool:
    """Whether something is verifying or draining, so that the edge should look again very soon."""
    owned = {backend.slot for backend in wanted.backends}
    if any(slot not in owned for slot in seen.slots):
        return True
    return any(_is_restless(backend, seen, health) for backend in wanted.backends)


def _is_restless(backend: Backend, seen: ProxyState, health: Mapping[UUID, Health]) -> bool:
    slot = seen.slots.get(backend.slot, EMPTY)
    staying = staying_replicas(backend)
    busy = {key for key, count in slot.open_requests.items() if count}
    if busy and f"slot:{backend.slot}" not in seen.targets.values():
        return True
    if busy - staying or slot.servers.keys() - {server.replica_id for server in backend.servers}:
        return True
    return backend.probe is not None and any(not _is_well(key, health) for key in staying - slot.ready)


def _is_well(replica_id: UUID, health: Mapping[UUID, Health]) -> bool:
    return replica_id in health and health[replica_id].is_healthy


def staying_replicas(backend: Backend) -> frozenset[UUID]:
    """The backend's replicas that are not leaving."""
    return frozenset(server.replica_id for server in backend.servers if not server.is_leaving)


def is_news(report: BackendReport, sent: BackendReport | None, *, staying: frozenset[UUID], is_routed: bool) -> bool:
    """Whether a report says something that the last one did not.

    Open requests of replicas that take requests change all the time: they alone are no news.
    """
    if sent is None or not is_routed:
        return report != sent
    if (report.deployment_id, report.revision, report.health) != (sent.deployment_id, sent.revision, sent.health):
        return True
    closing, told = ({k: v for k, v in r.open_by_replica.items() if k not in staying} for r in (report, sent))
    return closing != told
