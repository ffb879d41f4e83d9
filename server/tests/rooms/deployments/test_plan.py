"""The plan, run in a simulated world from ordinary and from every possible state."""

import itertools
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from rooms.deployments.world import App, World, assert_alone, crash, kinds, run, served
from trackside.rooms.deployments import model as m
from trackside.rooms.deployments.model import planning
from trackside.rooms.networking.model import Page

S = m.Status


def test_a_first_deployment_serves_after_verification() -> None:
    world = World()
    identity = world.add(S.DEPLOYING, replicas=3)
    world.settle()
    assert_alone(world, identity)
    assert kinds(world).index("Swap") > kinds(world).index("PutBackend")


def test_visitors_see_the_starting_page_until_the_first_version_serves() -> None:
    world = World()
    world.add(S.BUILDING)
    world.step()
    assert world.page is Page.STARTING


def test_success_is_told_only_after_the_old_set_is_gone() -> None:
    world = World()
    old = served(world)
    new = world.add(S.DEPLOYING)
    world.history.clear()
    world.settle()
    assert_alone(world, new)
    assert world.deployments[old].status is S.REMOVED
    assert kinds(world).index("EndRemoval") < kinds(world).index("Succeed")


def test_the_old_set_stays_untouched_until_the_edge_has_confirmed_the_swap() -> None:
    world = World()
    old = served(world)
    new = world.add(S.DEPLOYING)
    while world.routed != new:
        world.step()
        assert world.deployments[old].status is S.SUCCESS
    world.confirmed = None
    world.step()
    assert not [a for a in world.history if isinstance(a, planning.TerminateReplica)]


def test_open_requests_hold_the_old_set_up_to_the_connection_drain() -> None:
    world = World()
    old = served(world, connection_drain=5)
    world.open_requests[old] = 2
    new = world.add(S.DEPLOYING)
    while world.deployments[old].status is not S.REMOVING:
        world.step()
    began = world.now
    while not any(isinstance(a, planning.TerminateReplica) for a in world.history):
        world.step()
    assert timedelta(seconds=5) <= world.now - began < timedelta(seconds=6)
    world.settle()
    assert_alone(world, new)


def test_overlap_keeps_the_old_set_even_without_open_requests() -> None:
    world = World()
    old = served(world, overlap=3)
    world.add(S.DEPLOYING)
    while world.deployments[old].status is not S.REMOVING:
        world.step()
    began = world.now
    while not any(isinstance(a, planning.TerminateReplica) for a in world.history):
        world.step()
    assert world.now - began >= timedelta(seconds=3)


def test_an_app_that_ignores_the_stop_signal_is_killed_after_its_grace() -> None:
    world = World()
    old = served(world, app=App(term_seconds=1e9), draining=4)
    new = world.add(S.DEPLOYING)
    world.settle()
    assert_alone(world, new)
    terminated = next(iter(world.terminated.values()))
    assert world.deployments[old].ended_at is not None
    assert world.deployments[old].ended_at >= terminated + timedelta(seconds=4)


def test_what_was_found_well_serves_though_nobody_looked_in_time() -> None:
    """The engine or the database was away, or the clock has jumped; the edge went on probing."""
    world = World()
    served(world)
    new = world.add(S.DEPLOYING, healthcheck_timeout=20)
    while new not in world.backends:
        world.step()
    world.pass_time()
    world.now += timedelta(hours=1)
    world.settle()
    assert_alone(world, new)
    assert world.deployments[new].status is S.SUCCESS


@pytest.mark.parametrize(
    ("app", "settings", "reason"),
    [
        (App(healthy_after=1e9), {"healthcheck_timeout": 5}, "not healthy within 5 s"),
        (App(exits_after=0.1, exit_code=3), {}, "exited with code 3"),
        (App(exits_after=0.1, exit_code=3), {"restart_policy": m.RestartPolicy.NEVER}, "exited with code 3"),
        (App(exits_after=0.1, exit_code=0), {}, "exited with code 0"),
        (App(exits_after=0.1, exit_code=137), {"max_restarts": 0}, "ended by signal 9"),
        (App(pre_deploy_code=4), {"pre_deploy_command": "migrate"}, "pre-deploy command failed with exit code 4"),
    ],
)
def test_a_version_that_does_not_work_fails_with_the_reason_and_the_old_keeps_serving(
    app: App, settings: dict[str, object], reason: str
) -> None:
    world = World()
    old = served(world)
    new = world.add(S.DEPLOYING, app, **settings)
    world.settle()
    assert world.deployments[new].status is S.FAILED
    assert reason in (world.deployments[new].reason or "")
    assert_alone(world, old)
    assert all(step.completed_at for step in world.deployments[new].steps)


def test_the_pre_deploy_command_runs_once_before_any_replica_starts() -> None:
    world = World()
    new = world.add(S.DEPLOYING, App(), pre_deploy_command="migrate")
    world.settle()
    assert_alone(world, new)
    roles = [a.role for a in world.history if isinstance(a, planning.AddReplicas)]
    assert roles == [m.Role.PRE_DEPLOY, m.Role.REPLICA]


def test_a_pre_deploy_command_that_the_machine_cut_off_is_run_again() -> None:
    world = World()
    new = world.add(S.DEPLOYING, App(), pre_deploy_command="migrate")
    while not world.seen:
        world.step()
    (task,) = world.seen
    cut_off = {"state": m.SeenState.EXITED, "exit_code": 255, "is_cut_off": True}
    world.seen[task] = replace(world.seen[task], **cut_off)
    world.settle()
    assert_alone(world, new)
    roles = [a.role for a in world.history if isinstance(a, planning.AddReplicas)]
    assert roles == [m.Role.PRE_DEPLOY, m.Role.PRE_DEPLOY, m.Role.REPLICA]


def test_a_worker_without_a_port_succeeds_without_a_route() -> None:
    world = World()
    new = world.add(S.DEPLOYING, App(port=None))
    world.settle()
    assert world.deployments[new].status is S.SUCCESS
    assert not world.backends
    assert world.routed is None


def test_a_worker_replaces_a_worker() -> None:
    world = World()
    old = world.add(S.DEPLOYING, App(port=None))
    world.settle()
    new = world.add(S.DEPLOYING, App(port=None))
    world.settle()
    assert world.deployments[old].status is S.REMOVED
    assert world.deployments[new].status is S.SUCCESS
    assert {r.deployment_id for r in world.replicas.values()} == {new}


def test_a_worker_replaces_a_web_app_and_the_other_way_round() -> None:
    world = World()
    web = served(world)
    worker = world.add(S.DEPLOYING, App(port=None))
    world.settle()
    assert world.deployments[web].status is S.REMOVED
    assert world.deployments[worker].status is S.SUCCESS
    assert world.routed is None
    again = world.add(S.DEPLOYING)
    world.settle()
    assert_alone(world, again)


def test_an_image_that_does_not_say_whether_it_listens_is_watched_first() -> None:
    world = World()
    new = world.add(S.DEPLOYING, App(port=None))
    image = m.ImageFacts("sha256:x")
    world.deployments[new] = replace(world.deployments[new], image=image)
    world.settle()
    assert world.deployments[new].status is S.SUCCESS
    assert world.now - world.deployments[new].steps[0].started_at >= timedelta(seconds=10)


def test_scaling_up_and_down_ends_at_the_wanted_number() -> None:
    world = World()
    identity = served(world)
    for wanted in (5, 2, 3, 1):
        world.deployments[identity] = replace(world.deployments[identity], wanted_replicas=wanted)
        world.settle()
        assert_alone(world, identity)


def test_a_replica_that_is_scaled_away_is_closed_before_it_is_stopped() -> None:
    world = World()
    identity = served(world, replicas=2)
    world.deployments[identity] = replace(world.deployments[identity], wanted_replicas=1)
    world.settle()
    order = [k for k in kinds(world) if k in ("LeaveReplica", "TerminateReplica", "RemoveReplica")]
    assert order == ["LeaveReplica", "TerminateReplica", "RemoveReplica"]


def test_a_new_version_replaces_a_crashed_one() -> None:
    world = World()
    crashed = served(world)
    crash(world, crashed)
    new = world.add(S.DEPLOYING)
    world.settle()
    assert_alone(world, new)
    assert world.deployments[crashed].status is S.REMOVED


def test_taking_down_shows_the_page_before_anything_stops() -> None:
    world = World()
    identity = served(world)
    world.deployments[identity] = replace(world.deployments[identity], status=S.REMOVING, removing_at=world.now)
    world.history.clear()
    world.settle()
    assert world.deployments[identity].status is S.REMOVED
    assert world.page is Page.STOPPED
    assert not world.seen
    assert not world.backends
    assert kinds(world).index("ShowPage") < kinds(world).index("TerminateReplica")


def test_a_superseded_deployment_leaves_nothing_behind() -> None:
    world = World()
    old = served(world)
    superseded = world.add(S.DEPLOYING, App(healthy_after=1e9), replicas=2)
    for _ in range(20):
        world.step()
    assert len(world.seen) == 3
    world.deployments[superseded] = replace(world.deployments[superseded], status=S.REMOVED)
    new = world.add(S.DEPLOYING)
    world.settle()
    assert_alone(world, new)
    assert world.deployments[old].status is S.REMOVED


@pytest.mark.parametrize("port", [8080, None], ids=["web", "worker"])
@pytest.mark.parametrize("tick", range(0, 80, 4))
def test_a_third_version_that_comes_while_the_first_still_drains_serves_alone(port: int | None, tick: int) -> None:
    """The second has taken over and waits for the first to be gone; whenever the third comes, it is the last to serve."""
    world = World()
    first = world.add(S.DEPLOYING, App(port=port, term_seconds=4), connection_drain=3)
    world.settle()
    world.open_requests[first] = 1
    second = world.add(S.DEPLOYING, App(port=port))
    run(world, tick / 10)
    third = world.add(S.DEPLOYING, App(port=port))
    if not has_the_traffic(world, second):
        world.deployments[second] = replace(world.deployments[second], status=S.REMOVED)
    world.settle()
    assert {world.deployments[one].status for one in (first, second)} == {S.REMOVED}
    assert world.deployments[third].status is S.SUCCESS
    assert {replica.deployment_id for replica in world.replicas.values()} == {third}
    swaps = [action.deployment_id for action in world.history if isinstance(action, planning.Swap)]
    assert swaps == sorted(swaps), "the traffic never goes back"


def has_the_traffic(world: World, identity: UUID) -> bool:
    """Whether a newer deployment would not supersede this one any more."""
    network = world.deployments[identity].step(m.StepName.CONFIGURE_NETWORK)
    return world.routed == identity or bool(network and network.is_skipped)


def test_containers_that_no_record_knows_are_removed() -> None:
    world = World()
    identity = served(world)
    stray = UUID(int=7)
    world.seen[stray] = replace(next(iter(world.seen.values())), replica_id=stray)
    world.settle()
    assert_alone(world, identity)


SEEN = [None, m.SeenState.CREATED, m.SeenState.RUNNING, m.SeenState.RESTARTING, m.SeenState.EXITED]
OLD = [None, S.SUCCESS, S.CRASHED, S.REMOVING, S.FAILED, S.REMOVED]
STEPS = [
    (),
    (m.StepName.CREATE_CONTAINER,),
    (m.StepName.CREATE_CONTAINER, m.StepName.HEALTHCHECK),
]


@pytest.mark.parametrize("old_status", OLD, ids=str)
@pytest.mark.parametrize("old_seen", SEEN, ids=str)
@pytest.mark.parametrize("new_seen", SEEN, ids=str)
def test_from_every_state_the_new_version_comes_to_serve_alone(
    old_status: S | None, old_seen: m.SeenState | None, new_seen: m.SeenState | None
) -> None:
    """Every combination of the old one's status, what is seen of both, the wanted route, its confirmation, and progress."""
    for routed, confirmed, steps, backend in itertools.product(["nobody", "old"], [True, False], STEPS, [True, False]):
        world = World()
        old = served(world) if old_status else None
        if old:
            place(world, old, old_seen)
            world.deployments[old] = replace(world.deployments[old], status=old_status, removing_at=world.now)
            if routed == "nobody":
                world.routed, world.page = None, Page.CRASHED
        new = world.add(S.DEPLOYING)
        for step in steps:
            world.do_begin_step(planning.BeginStep(new, step))
        world.do_add_replicas(planning.AddReplicas(new, m.Role.REPLICA, (0,)))
        place(world, new, new_seen)
        if backend:
            world.do_find_port(planning.FindPort(new, 8080))
            world.do_put_backend(planning.PutBackend(new, ()))
        world.confirmed = (world.routed or world.page) if confirmed else None
        world.settle(300)
        assert_alone(world, new)


def place(world: World, deployment_id: UUID, state: m.SeenState | None) -> None:
    """Let every replica of the deployment be seen so."""
    for replica in [r for r in world.replicas.values() if r.deployment_id == deployment_id]:
        world.seen.pop(replica.id, None)
        if state is not None:
            world.do_start_replica(planning.StartReplica(deployment_id, replica.id))
            code = 1 if state in (m.SeenState.EXITED, m.SeenState.RESTARTING) else None
            world.seen[replica.id] = replace(world.seen[replica.id], state=state, exit_code=code)
