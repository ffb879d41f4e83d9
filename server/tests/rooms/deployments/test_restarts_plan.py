"""What is started again, how often, and when a crash is told: the plan, run in a simulated world."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rooms.deployments.world import World, assert_alone, crash, kinds, run, served
from trackside.rooms.deployments import model as m
from trackside.rooms.deployments.model import planning
from trackside.rooms.networking.model import Page

S = m.Status


def restarts(world: World) -> int:
    return sum(isinstance(action, planning.RestartReplica) for action in world.history)


def test_containers_that_vanished_are_started_again() -> None:
    world = World()
    identity = served(world, replicas=3)
    world.seen.clear()
    world.settle()
    assert_alone(world, identity)


def test_a_replica_killed_from_outside_is_restarted() -> None:
    world = World()
    identity = served(world, replicas=2)
    victim = next(iter(world.seen))
    world.seen[victim] = replace(world.seen[victim], state=m.SeenState.EXITED, exit_code=137, listening=())
    world.settle()
    assert_alone(world, identity)
    assert [a for a in world.history if isinstance(a, planning.RestartReplica)]


@pytest.mark.parametrize("policy", m.RestartPolicy)
@pytest.mark.parametrize("code", [0, 255])
def test_a_replica_that_the_machine_cut_off_is_started_again_whatever_its_policy(
    policy: m.RestartPolicy, code: int
) -> None:
    world = World()
    identity = served(world, restart_policy=policy, max_restarts=0)
    (replica,) = world.seen
    cut_off = {"state": m.SeenState.EXITED, "exit_code": code, "is_cut_off": True, "listening": ()}
    world.seen[replica] = replace(world.seen[replica], **cut_off)
    world.settle()
    assert_alone(world, identity)
    (restart,) = [action for action in world.history if isinstance(action, planning.RestartReplica)]
    assert restart.reason == "the machine it ran on went down"


def test_a_replica_that_is_added_has_the_time_to_start_that_a_new_version_has() -> None:
    """One that is told to end while it starts may not hear it, and is killed when it serves long since."""
    world = World()
    identity = served(world, healthcheck_timeout=20.0, start_period=10.0)
    (first,) = world.seen
    world.seen[first] = replace(world.seen[first], started_at=world.now - timedelta(hours=1))
    world.apps[identity].healthy_after = 1000
    world.deployments[identity] = replace(world.deployments[identity], wanted_replicas=2)
    run(world, 29)
    assert restarts(world) == 0
    run(world, 3)
    assert restarts(world) == 1


def test_a_replica_that_was_well_and_is_no_longer_is_restarted_at_once() -> None:
    world = World()
    identity = served(world, healthcheck_timeout=300.0)
    world.apps[identity].port = None
    run(world, 2)
    assert restarts(world) == 1


def test_an_app_that_crashes_for_good_is_told_and_its_page_shown() -> None:
    world = World()
    identity = served(world)
    crash(world, identity)
    assert world.deployments[identity].status is S.CRASHED
    assert world.page is Page.CRASHED
    assert "exited with code 1" in (world.deployments[identity].reason or "")


def test_an_app_that_had_run_for_long_is_started_again_though_its_restarts_are_used_up() -> None:
    """By the plan: the engine counts for as long as there is the container, however long ago the last time was."""
    world = World()
    identity = served(world, max_restarts=0)
    (replica,) = world.seen
    world.seen[replica] = replace(world.seen[replica], started_at=world.now - timedelta(hours=1))
    world.apps[identity].exits_after = 0
    world.step()
    world.apps[identity].exits_after = None
    world.settle()
    assert_alone(world, identity)
    assert restarts(world) == 1
    crash(world, identity)
    assert world.deployments[identity].status is S.CRASHED


def test_an_app_that_was_well_for_long_and_is_no_longer_is_restarted_though_its_restarts_are_used_up() -> None:
    world = World()
    identity = served(world, max_restarts=0, healthcheck_timeout=20.0)
    (replica,) = world.seen
    world.seen[replica] = replace(world.seen[replica], started_at=world.now - timedelta(hours=1))
    run(world, 1)
    world.apps[identity].port = None
    run(world, 60)
    assert restarts(world) == 1
    assert world.deployments[identity].status is S.CRASHED


def test_what_an_unhealthy_app_says_anew_each_second_is_recorded_once() -> None:
    world = World()
    identity = served(world, restart_policy=m.RestartPolicy.NEVER)
    world.history.clear()
    world.apps[identity].port = None
    run(world, 30)
    assert world.deployments[identity].status is S.CRASHED
    assert kinds(world).count("NoteReplica") == 1


@pytest.mark.parametrize("requests", [0, 1])
@pytest.mark.parametrize("moment", range(12))
def test_a_crash_at_any_moment_after_the_swap_is_told_once_and_leaves_no_step_open(requests: int, moment: int) -> None:
    """An app may die of its first real request; `requests` are open at the version before, which drains for as long."""
    world = World()
    old = served(world)
    world.open_requests[old] = requests
    never = m.RestartPolicy.NEVER
    new = world.add(S.DEPLOYING, restart_policy=never, connection_drain=3600.0)
    while world.routed != new:
        world.step()
    for _ in range(moment):
        world.step()
    world.apps[new].exits_after = 0
    run(world, 5)
    assert world.deployments[new].status is S.CRASHED
    assert [step.name for step in world.deployments[new].steps if step.completed_at is None] == []
    told = [kind for kind in kinds(world) if kind in ("Crash", "Succeed")]
    assert told.count("Crash") == 1
    assert told[-1] == "Crash"
