"""The edge's plan, from every combination of what is wanted, seen and known: it rests, and never gets worse."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackside.kit.ids import new_id
from trackside.rooms.networking.model import (
    Backend,
    BackendReport,
    EdgeState,
    Health,
    Name,
    Page,
    Probe,
    ProbeKind,
    Protocol,
    Route,
    Server,
)
from trackside.rooms.networking.plan import (
    ClearBackend,
    Grow,
    Open,
    Plan,
    PutBackend,
    PutRoutes,
    answered_names,
    applied_routes,
    backend_reports,
    is_news,
    is_restless,
    needed_slots,
    plan,
    ready_replicas,
    target_text,
)
from trackside.rooms.networking.ports import ProxySlot, ProxyState, Served

PROBE = Probe(ProbeKind.HTTP)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WELL, ILL = Health(True, "HTTP 200", NOW), Health(False, "HTTP 503", NOW)
US, THEM = new_id(), new_id()
NOTHING = ProxyState({}, {}, {})


def a_server(number: int, *, is_leaving: bool = False) -> Server:
    return Server(UUID(int=number), IPv4Address("10.0.0.0") + number, 8080, is_leaving)


def a_backend(slot: int, *servers: Server, owner: UUID = US, probe: Probe | None = PROBE) -> Backend:
    return Backend(slot, owner, UUID(int=1000 + slot), servers, probe, Protocol.HTTP1, 7)


def a_route(target: int | Page, *, owner: UUID = US, host: str = "a.localhost") -> Route:
    return Route(owner, (host,), target, 9)


def seen_slot(backend: Backend, *ready: Server, busy: int = 0) -> ProxySlot:
    return ProxySlot(
        backend.slot,
        {server.replica_id: f"{server.address}:{server.port}" for server in backend.servers},
        frozenset(server.replica_id for server in ready),
        {server.replica_id: busy for server in backend.servers},
    )


def after(decided: Plan, before: ProxyState) -> ProxyState:
    """What a proxy holds when the steps were done. A server that is to go stays while it has open requests."""
    slots, hosts, targets = dict(before.slots), dict(before.hosts), dict(before.targets)
    for step in decided.steps:
        match step:
            case PutBackend(backend, ready):
                present = slots.get(backend.slot, ProxySlot(backend.slot, {}, frozenset(), {}))
                wanted = {s.replica_id: f"{s.address}:{s.port}" for s in backend.servers}
                stay = {key: address for key, address in present.servers.items() if present.open_requests.get(key)}
                servers = stay | wanted
                slots[backend.slot] = ProxySlot(
                    backend.slot, servers, ready, {key: present.open_requests.get(key, 0) for key in servers}
                )
            case PutRoutes(routes):
                hosts = {host: route.service_instance_id for route in routes for host in route.hosts}
                targets = {route.service_instance_id: target_text(route.target) for route in routes}
            case ClearBackend(slot):
                slots.pop(slot, None)
            case Grow():
                pass
    return ProxyState(slots, hosts, targets)


# --- replicas ---

HEALTHS: tuple[Health | None, ...] = (WELL, ILL, None)


@pytest.mark.parametrize(("health", "was_ready", "is_leaving"), list(product(HEALTHS, (True, False), (True, False))))
def test_a_replica_beside_a_healthy_one_is_ready_when_well_or_trusted(
    health: Health | None, was_ready: bool, is_leaving: bool
) -> None:
    other, server = a_server(1), a_server(2, is_leaving=is_leaving)
    backend = a_backend(3, other, server)
    seen = seen_slot(backend, other, *([server] if was_ready else []))
    known = {other.replica_id: WELL} | ({server.replica_id: health} if health else {})
    expected = not is_leaving and (health.is_healthy if health else was_ready)
    assert (server.replica_id in ready_replicas(backend, seen, known)) is expected


@pytest.mark.parametrize("was_ready", list(product((True, False), repeat=2)))
def test_the_last_replicas_are_never_taken_out(was_ready: tuple[bool, bool]) -> None:
    servers = (a_server(1), a_server(2))
    backend = a_backend(3, *servers)
    ready = [server for server, was in zip(servers, was_ready, strict=True) if was]
    known = {server.replica_id: ILL for server in servers}
    assert ready_replicas(backend, seen_slot(backend, *ready), known) == {server.replica_id for server in ready}


def test_without_a_probe_every_staying_replica_is_ready_at_once() -> None:
    backend = a_backend(3, a_server(1), a_server(2, is_leaving=True), probe=None)
    assert ready_replicas(backend, ProxySlot(3, {}, frozenset(), {}), {}) == {UUID(int=1)}


# --- after a boot ---


@pytest.mark.parametrize(("first", "second", "is_patient"), list(product(HEALTHS, HEALTHS, (True, False))))
def test_a_closed_proxy_opens_when_all_routes_lead_to_somebody_who_is_well_or_patience_is_over(
    first: Health | None, second: Health | None, is_patient: bool
) -> None:
    servers, healths = (a_server(1), a_server(2)), (first, second)
    backends = tuple(
        a_backend(slot, server, owner=owner) for slot, server, owner in zip((1, 2), servers, (US, THEM), strict=True)
    )
    routes = (a_route(1), a_route(2, owner=THEM, host="b.localhost"))
    health = {server.replica_id: known for server, known in zip(servers, healths, strict=True) if known}
    seen = ProxyState({1: seen_slot(backends[0]), 2: seen_slot(backends[1])}, {}, {}, is_open=False)
    steps = plan(EdgeState(backends, routes), seen, health, 20, is_patient=is_patient).steps
    assert (Open() in steps) is (not is_patient or healths == (WELL, WELL))
    assert Open() not in steps[:-1], "all else is in place by then"
    assert Open() not in plan(EdgeState(backends, routes), replace(seen, is_open=True), health, 20).steps


def test_a_closed_proxy_without_apps_opens_at_once() -> None:
    wanted = EdgeState((), (a_route(Page.STOPPED),))
    assert Open() in plan(wanted, replace(NOTHING, is_open=False), {}, 20).steps


# --- routes ---


@pytest.mark.parametrize(
    ("wanted_health", "present", "expected"),
    [
        (WELL, "slot:1", 2),
        (WELL, "page:stopped", 2),
        (WELL, None, 2),
        (ILL, "slot:1", 1),
        (ILL, "page:crashed", Page.CRASHED),
        (ILL, None, Page.STARTING),
        (None, "slot:1", 1),
        (None, None, Page.STARTING),
    ],
)
def test_a_route_moves_to_a_backend_only_when_it_takes_requests(
    wanted_health: Health | None, present: str | None, expected: int | Page
) -> None:
    old, new = a_backend(1, a_server(1)), a_backend(2, a_server(2))
    seen = ProxyState({1: seen_slot(old, a_server(1))}, {"a.localhost": US}, {US: present} if present else {})
    known = {UUID(int=1): WELL} | ({UUID(int=2): wanted_health} if wanted_health else {})
    decided = plan(EdgeState((old, new), (a_route(2),)), seen, known, 500)
    assert decided.served.state.routes == (a_route(expected),)


@pytest.mark.parametrize("page", list(Page))
def test_a_page_is_always_followed(page: Page) -> None:
    backend = a_backend(1, a_server(1))
    seen = ProxyState({1: seen_slot(backend, a_server(1))}, {"a.localhost": US}, {US: "slot:1"})
    decided = plan(EdgeState((backend,), (a_route(page),)), seen, {UUID(int=1): WELL}, 500)
    assert decided.steps == (PutRoutes((a_route(page),)),)


def test_a_slot_given_to_another_service_is_left_before_its_replicas_come() -> None:
    theirs = a_backend(1, a_server(5), owner=THEM)
    ours = a_backend(2, a_server(2))
    seen = ProxyState({1: seen_slot(a_backend(1, a_server(1)), a_server(1))}, {"a.localhost": US}, {US: "slot:1"})
    wanted = EdgeState((theirs, ours), (a_route(2), a_route(1, owner=THEM, host="b.localhost")))
    decided = plan(wanted, seen, {UUID(int=5): WELL}, 500)
    first, *rest = decided.steps
    assert isinstance(first, PutRoutes)
    assert {route.service_instance_id: route.target for route in first.routes}[US] is Page.STARTING
    assert PutBackend(theirs, frozenset({UUID(int=5)})) in rest
    assert after(decided, seen).targets == {US: "page:starting", THEM: "slot:1"}


def test_a_backend_that_is_still_routed_is_not_cleared() -> None:
    old, new = a_backend(1, a_server(1)), a_backend(2, a_server(2))
    seen = ProxyState({1: seen_slot(old, a_server(1))}, {"a.localhost": US}, {US: "slot:1"})
    wanted = EdgeState((new,), (a_route(2),))
    assert not [step for step in plan(wanted, seen, {}, 500).steps if isinstance(step, ClearBackend)]
    well = plan(wanted, seen, {UUID(int=2): WELL}, 500)
    assert well.steps == (
        PutBackend(new, frozenset({UUID(int=2)})),
        PutRoutes((a_route(2),)),
        ClearBackend(1),
    )


# --- every combination rests ---

replica_numbers = st.integers(1, 6)
healths = st.dictionaries(replica_numbers.map(lambda number: UUID(int=number)), st.sampled_from([WELL, ILL]))
targets = st.one_of(st.integers(0, 3), st.sampled_from(list(Page)))


@st.composite
def edge_states(draw: st.DrawFn) -> EdgeState:
    numbers = draw(st.lists(replica_numbers, unique=True, max_size=6))
    backends: dict[int, Backend] = {}
    for number in numbers:
        slot = draw(st.integers(0, 3))
        owner = backends[slot].service_instance_id if slot in backends else draw(st.sampled_from([US, THEM]))
        probe = backends[slot].probe if slot in backends else draw(st.sampled_from([PROBE, None]))
        before = backends[slot].servers if slot in backends else ()
        server = a_server(number, is_leaving=draw(st.booleans()))
        backends[slot] = a_backend(slot, *before, server, owner=owner, probe=probe)
    routes = [
        a_route(draw(targets), owner=owner, host=f"{name}.localhost")
        for owner, name in ((US, "a"), (THEM, "b"))
        if draw(st.booleans())
    ]
    return EdgeState(tuple(backends.values()), tuple(routes))


@st.composite
def proxy_states(draw: st.DrawFn) -> ProxyState:
    held = draw(edge_states())
    slots = {}
    for backend in held.backends:
        ready = draw(st.sets(st.sampled_from(backend.servers)))
        slots[backend.slot] = seen_slot(backend, *ready, busy=draw(st.integers(0, 2)))
    return ProxyState(
        slots,
        {host: route.service_instance_id for route in held.routes for host in route.hosts},
        {route.service_instance_id: target_text(route.target) for route in held.routes},
    )


@settings(max_examples=500, deadline=None)
@given(edge_states(), proxy_states(), healths)
def test_from_anywhere_one_pass_reaches_rest(wanted: EdgeState, seen: ProxyState, health: dict[UUID, Health]) -> None:
    first = plan(wanted, seen, health, 500)
    then = after(first, seen)
    second = plan(wanted, then, health, 500)
    assert second.served == first.served
    idle = ProxyState(
        {key: replace(slot, open_requests=dict.fromkeys(slot.servers, 0)) for key, slot in then.slots.items()},
        then.hosts,
        then.targets,
    )
    rested = after(plan(wanted, idle, health, 500), idle)
    assert plan(wanted, rested, health, 500).steps == ()


@settings(max_examples=500, deadline=None)
@given(edge_states(), proxy_states(), healths)
def test_no_step_ever_leads_requests_to_another_service_or_to_nobody(
    wanted: EdgeState, seen: ProxyState, health: dict[UUID, Health]
) -> None:
    decided = plan(wanted, seen, health, 500)
    owners = {backend.slot: backend.service_instance_id for backend in wanted.backends}
    now = seen
    for step in decided.steps:
        if isinstance(step, PutBackend):
            leading = {owner for owner, target in now.targets.items() if target == f"slot:{step.backend.slot}"}
            assert leading <= {step.backend.service_instance_id}
        if isinstance(step, ClearBackend):
            assert f"slot:{step.slot}" not in now.targets.values()
        now = after(Plan(decided.served, (step,)), now)
    for route in decided.served.state.routes:
        if isinstance(route.target, int) and now.targets[route.service_instance_id] != seen.targets.get(
            route.service_instance_id
        ):
            assert owners[route.target] == route.service_instance_id
            assert now.slots[route.target].ready


@settings(max_examples=300, deadline=None)
@given(edge_states(), proxy_states(), healths)
def test_a_backend_that_takes_requests_goes_on_taking_them(
    wanted: EdgeState, seen: ProxyState, health: dict[UUID, Health]
) -> None:
    decided = plan(wanted, seen, health, 500)
    for backend in wanted.backends:
        staying = {server.replica_id for server in backend.servers if not server.is_leaving}
        if backend.slot in seen.slots and seen.slots[backend.slot].ready & staying:
            assert decided.served.ready[backend.slot]


# --- slots ---


@pytest.mark.parametrize(
    ("used", "capacity", "expected"),
    [(0, 500, 0), (400, 500, 0), (401, 500, 1000), (500, 500, 1000), (900, 500, 2000), (1, 500, 0)],
)
def test_the_proxy_grows_when_it_is_four_fifths_full(used: int, capacity: int, expected: int) -> None:
    assert needed_slots([a_backend(slot) for slot in range(used)], capacity) == expected


def test_a_high_slot_makes_it_grow_too() -> None:
    assert needed_slots([a_backend(700)], 500) == 1000
    assert plan(EdgeState((a_backend(700),)), NOTHING, {}, 500).steps[0] == Grow(1000)


# --- names ---


def test_names_are_answered_with_replicas_that_take_requests() -> None:
    network = IPv4Network("10.0.0.0/24")
    servers = [a_server(1), a_server(2), a_server(3)]
    backend = a_backend(1, *servers)
    name = Name("web", network, tuple(server.address for server in servers))
    served = Served(EdgeState((backend,)), {1: frozenset({UUID(int=1), UUID(int=3)})})
    assert answered_names([name], served)[0].addresses == (servers[0].address, servers[2].address)
    nobody = Served(EdgeState((backend,)), {1: frozenset()})
    assert answered_names([name], nobody) == (name,)


# --- reports ---


def test_a_backend_is_reported_as_applied_only_when_the_proxy_holds_it() -> None:
    server, goes = a_server(1), a_server(2)
    backend = a_backend(1, server)
    served = Served(EdgeState((backend,)), {1: frozenset({server.replica_id})})

    def revision(seen: ProxySlot | None) -> int:
        state = ProxyState({1: seen} if seen else {}, {}, {})
        return backend_reports(EdgeState((backend,)), served, state, {})[1].revision

    assert revision(None) == -1
    assert revision(seen_slot(backend)) == -1
    assert revision(seen_slot(a_backend(1, replace(server, port=9)), server)) == -1
    assert revision(seen_slot(backend, server)) == 7
    assert revision(seen_slot(a_backend(1, server, goes), server)) == 7
    assert revision(seen_slot(a_backend(1, server, goes), server, goes)) == -1


def test_a_route_is_reported_as_applied_only_when_hosts_and_target_are_so() -> None:
    wanted = EdgeState((), (a_route(1),))
    assert applied_routes(wanted, ProxyState({}, {"a.localhost": US}, {US: "slot:1"})) == {US: 9}
    assert applied_routes(wanted, ProxyState({}, {"a.localhost": US}, {US: "slot:2"})) == {}
    assert applied_routes(wanted, ProxyState({}, {}, {US: "slot:1"})) == {}
    assert applied_routes(wanted, ProxyState({}, {"a.localhost": US, "b.localhost": US}, {US: "slot:1"})) == {}


def test_open_requests_are_news_only_where_somebody_waits_for_their_end() -> None:
    stays, goes = UUID(int=1), UUID(int=2)

    def report(*counts: int, revision: int = 7) -> BackendReport:
        opened = dict(zip((stays, goes), counts, strict=True))
        return BackendReport(1, UUID(int=9), revision, {stays: WELL}, sum(counts), opened)

    staying = frozenset({stays})
    assert is_news(report(1, 0), None, staying=staying, is_routed=True)
    assert not is_news(report(5, 0), report(1, 0), staying=staying, is_routed=True)
    assert is_news(report(5, 0), report(1, 0), staying=staying, is_routed=False)
    assert is_news(report(1, 1), report(1, 2), staying=staying, is_routed=True)
    assert is_news(report(1, 0, revision=8), report(1, 0), staying=staying, is_routed=True)
    assert not is_news(report(1, 0), report(1, 0), staying=staying, is_routed=False)


def test_it_looks_again_soon_while_something_verifies_or_drains_and_not_otherwise() -> None:
    server, goes = a_server(1), a_server(2, is_leaving=True)
    backend = a_backend(1, server)
    wanted = EdgeState((backend,), (a_route(1),))
    routed = {US: "slot:1"}
    well = {server.replica_id: WELL}

    def restless(slot: ProxySlot, targets: dict[UUID, str], wanted: EdgeState = wanted) -> bool:
        return is_restless(wanted, ProxyState({1: slot}, {}, targets), well)

    assert not restless(seen_slot(backend, server, busy=3), routed)
    assert restless(seen_slot(backend, server, busy=3), {})
    assert not restless(seen_slot(backend, server), {})
    assert is_restless(wanted, ProxyState({1: seen_slot(backend)}, {}, routed), {})
    leaving = EdgeState((a_backend(1, server, goes),), (a_route(1),))
    assert restless(seen_slot(a_backend(1, server, goes), server, busy=1), routed, leaving)
    assert not restless(seen_slot(a_backend(1, server, goes), server), routed, leaving)
    assert restless(seen_slot(a_backend(1, server, a_server(9)), server), routed)
    assert restless(seen_slot(backend, server), routed, EdgeState())
