"""Faults that are no kills, on a whole real platform under load: what serves serves on, it is told what is wrong, and all heals."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.conftest import APPS, Service, until
from survival.fault_world import HANG_SECONDS, FaultWorld, fault_world, under_load

pytestmark = pytest.mark.timeout(900)
PARTS = ("postgres", "containerd", "engine", "build-engine")


@pytest.fixture(scope="module")
def world() -> Iterator[FaultWorld]:
    with fault_world() as world:
        yield world


@pytest.fixture(scope="module")
def echo(world: FaultWorld) -> Service:
    """Its first version serves."""
    service = world.trackside.service("faults", "echo")
    service.up(APPS / "echo")
    return service


def restart(service: Service) -> None:
    """Ask for a deployment that needs no build."""
    answer = service.api.post(f"/v1/service-instances/{service.instance['id']}/restart")
    assert answer.is_success, answer.text


def assert_well(service: Service) -> None:
    """A deployment goes through, as on any day."""
    restart(service)
    until(lambda: service.is_settled, 60)


def test_an_engine_that_hangs_is_told_and_a_deployment_waits_for_it(world: FaultWorld, echo: Service) -> None:
    """It is let go on before the watchdog would end it."""
    with under_load(echo.load(100)), world.stopped("engine"):
        began = time.monotonic()
        restart(echo)
        assert time.monotonic() - began < 5
        until(lambda: world.status()["engine"]["state"] == "HANGING", 20)
        waiting = until(lambda: held_up(echo), HANG_SECONDS - 5)
        print(f"told after {time.monotonic() - began:.1f} s: {waiting['reason']} → {waiting['hint']}")
        assert waiting["status"] == "DEPLOYING"
        assert waiting["reason"] == "The container engine does not answer."
    until(lambda: echo.is_settled, 60)
    assert echo.deployments()[0]["reason"] is None


def held_up(service: Service) -> dict[str, Any] | None:
    """The newest deployment once it says what it waits for; those before it were replaced, and say that."""
    newest = service.deployments()[0]
    return newest if newest["reason"] else None


def test_parts_that_hang_for_long_are_started_anew(world: FaultWorld, echo: Service) -> None:
    with under_load(echo.load(100)), world.stopped(*PARTS) as pids:
        began = time.monotonic()
        until(lambda: is_started_anew(world, pids), HANG_SECONDS * 3, lambda: str(world.status()))
        print(f"all four started anew after {time.monotonic() - began:.1f} s")
        assert_well(echo)


def is_started_anew(world: FaultWorld, pids: dict[str, int]) -> bool:
    status = world.status()
    return all(status[name]["state"] == "RUNNING" and status[name]["pid"] != pid for name, pid in pids.items())


def test_a_full_disk_of_the_database_is_told_and_passes(world: FaultWorld, echo: Service) -> None:
    """What can be read is read; what would be written is refused with the reason, or waits."""
    instance_id = echo.instance["id"]
    with under_load(echo.load(100)):
        with world.database_disk.full():
            refused = until(lambda: refusal(echo, instance_id), 60)
            print(f"told: {refused}")
            assert refused["kind"] == "unavailable"
            assert refused["code"] in ("rest.database_full", "rest.database_away")
        until(lambda: refusal(echo, instance_id) is None, 60)
        until(lambda: echo.is_settled, 60)
        assert_well(echo)


def refusal(service: Service, instance_id: str) -> dict[str, Any] | None:
    """What the door says to a wish that is written down; None where it is taken."""
    answer = service.api.post(f"/v1/service-instances/{instance_id}/restart")
    return None if answer.is_success else answer.json()["error"]


def test_a_full_disk_of_the_state_directory_holds_the_swap_up_and_nothing_else(
    world: FaultWorld, echo: Service
) -> None:
    """The edge changes nothing that it could not bring back after a crash."""
    with under_load(echo.load(100)):
        with world.state_disk.full():
            restart(echo)
            until(lambda: is_verifying(echo), 30)
            served = echo.instance["active_deployment"]["id"]
            assert served != echo.deployments()[0]["id"]
        until(lambda: echo.is_settled, 60)
    assert_well(echo)


def is_verifying(service: Service) -> bool:
    return any(step["name"] == "HEALTHCHECK" for step in service.deployments()[0]["steps"])


def test_a_disk_of_the_database_that_hangs_is_told_and_passes(world: FaultWorld, echo: Service) -> None:
    """Nobody waits for an answer without end: who asks is told before his own patience ends, the doctor finds the disk."""
    with under_load(echo.load(100)):
        with world.database_disk.frozen():
            began = time.monotonic()
            refused = refusal(echo, echo.instance["id"])
            print(f"told after {time.monotonic() - began:.1f} s: {refused}")
            assert refused
            assert refused["code"] == "rest.database_away"
            assert finding(world, "disk speed")["health"] == "failed"
        until(lambda: refusal(echo, echo.instance["id"]) is None, 90)
        until(lambda: echo.is_settled, 60)
    assert finding(world, "disk speed")["health"] == "ok"
    assert_well(echo)


def test_a_disk_of_the_state_directory_that_hangs_is_found_and_passes(world: FaultWorld, echo: Service) -> None:
    """The logs of the platform's own processes lie there: who writes one waits, apps are served."""
    with under_load(echo.load(100)):
        with world.state_disk.frozen():
            assert finding(world, "disk speed")["health"] == "failed"
        until(lambda: refusal(echo, echo.instance["id"]) is None, 90)
        until(lambda: echo.is_settled, 90)
    assert finding(world, "disk speed")["health"] == "ok"
    assert_well(echo)


def finding(world: FaultWorld, check: str) -> dict[str, Any]:
    """What the doctor says of this check."""
    listed = json.loads(world.cli.run("server", "doctor", "--json", ok=False).stdout)
    return next(one for one in listed if one["check"] == check)
