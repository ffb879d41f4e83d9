"""What on the engine is nobody's, and what must go to keep within an allowance; from every mixture."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from trackside.kit.garbage import Allowance, Freed, Thing, beyond, in_total, summed
from trackside.rooms.deployments.model import Network, Role, SeenReplica, SeenState
from trackside.rooms.deployments.plan.garbage import OnEngine, OnRecord, garbage
from trackside.rooms.deployments.plan.images import ImageUse

NOW = datetime(2026, 1, 31, tzinfo=UTC)
INSTANCE, GONE, SERVED, ORPHAN = (UUID(int=number) for number in (1, 2, 11, 12))
KNOWN = OnRecord(
    frozenset({INSTANCE}), frozenset({UUID(int=21)}), {INSTANCE: [ImageUse(SERVED, "sha256:a", True, False)]}
)


def replica(number: int, instance_id: UUID, deployment_id: UUID) -> SeenReplica:
    running = SeenState.RUNNING
    return SeenReplica(
        UUID(int=number), deployment_id, instance_id, UUID(int=99), Role.REPLICA, running, None, None, False, 0, None
    )


def network(number: int) -> Network:
    return Network(UUID(int=number), IPv4Network(f"10.0.{number}.0/24"))


def test_what_is_on_record_stays() -> None:
    seen = OnEngine({INSTANCE: {SERVED: "sha256:a"}}, [replica(1, INSTANCE, SERVED)], [network(21)])
    found = garbage(seen, KNOWN, 5)
    assert (found.replicas, found.networks, dict(found.images)) == ((), (), {})


def test_a_container_whose_service_instance_is_not_on_record_goes_and_a_stray_of_one_that_is_stays() -> None:
    seen = OnEngine(replicas=[replica(1, GONE, ORPHAN), replica(2, INSTANCE, ORPHAN)])
    assert garbage(seen, KNOWN, 5).replicas == (UUID(int=1),)


def test_a_network_whose_environment_is_not_on_record_goes() -> None:
    assert garbage(OnEngine(networks=[network(21), network(22)]), KNOWN, 5).networks == (UUID(int=22),)


def test_images_of_a_service_instance_that_is_not_on_record_go_at_once_with_its_containers() -> None:
    seen = OnEngine({GONE: {ORPHAN: "sha256:b"}}, [replica(1, GONE, ORPHAN)])
    assert garbage(seen, KNOWN, 5).images == {GONE: {ORPHAN}}


def test_an_image_of_an_ended_deployment_stays_as_long_as_a_container_of_a_known_instance_has_it() -> None:
    held = {INSTANCE: {SERVED: "sha256:a", ORPHAN: "sha256:b"}}
    assert garbage(OnEngine(held), KNOWN, 5).images == {INSTANCE: {ORPHAN}}
    assert garbage(OnEngine(held, [replica(1, INSTANCE, ORPHAN)]), KNOWN, 5).images == {}


def test_images_of_a_service_instance_whose_records_could_not_be_read_stay() -> None:
    unread = OnRecord(frozenset({INSTANCE}), frozenset(), {})
    assert garbage(OnEngine({INSTANCE: {SERVED: "sha256:a", ORPHAN: "sha256:b"}}), unread, 5).images == {}


def thing(age_days: int, size: int) -> Thing:
    return Thing(f"{age_days} {size}", size, NOW - timedelta(days=age_days))


THINGS = st.lists(st.builds(thing, st.integers(0, 50), st.integers(0, 1000)))


@given(THINGS, st.none() | st.integers(0, 40), st.none() | st.integers(0, 5000))
def test_what_stays_is_young_enough_and_fits_and_nothing_younger_went(
    things: list[Thing], days: int | None, size: int | None
) -> None:
    allowance = Allowance(None if days is None else timedelta(days=days), size)
    gone = beyond(things, allowance, NOW)
    stays = list(things)
    for one in gone:
        stays.remove(one)
    assert all(days is None or one.used_at >= NOW - timedelta(days=days) for one in stays)
    assert size is None or sum(one.size_bytes for one in stays) <= size
    assert not gone or not stays or gone[-1].used_at <= min(one.used_at for one in stays)


@given(THINGS, st.integers(0, 40), st.integers(0, 5000))
def test_no_more_goes_than_must(things: list[Thing], days: int, size: int) -> None:
    gone = beyond(things, Allowance(timedelta(days=days), size), NOW)
    if not gone:
        return
    last = gone[-1]
    would_stay = sum(one.size_bytes for one in things) - sum(one.size_bytes for one in gone[:-1])
    assert last.used_at < NOW - timedelta(days=days) or would_stay > size


def test_without_an_allowance_everything_stays() -> None:
    assert beyond([thing(1000, 1 << 40)], Allowance(), NOW) == []


def test_a_report_adds_up_and_leaves_out_what_did_not_happen() -> None:
    assert summed("logs", []) == []
    assert summed("logs", [thing(1, 10), replace(thing(2, 5), name="x")]) == [Freed("logs", 2, 15)]
    assert in_total([Freed("a", 1, 10), Freed("b", 2, 5)]) == 15
