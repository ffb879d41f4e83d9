"""Which port of an app requests are sent to: the plan, run in a simulated world."""

from dataclasses import replace

import pytest

from rooms.deployments.world import App, World, assert_alone
from trackside.rooms.deployments import model as m
from trackside.rooms.deployments.model import planning

S = m.Status


def ports(world: World) -> list[int]:
    return [action.port for action in world.history if isinstance(action, planning.FindPort)]


@pytest.mark.parametrize(
    ("app", "exposed", "found"),
    [
        (App(port=8080, first_port=9090, healthy_after=1), (), 8080),
        (App(port=3000, first_port=9090, healthy_after=1), (3000,), 3000),
        (App(port=3000, healthy_after=0.2), (), 3000),
        (App(port=9091, first_port=3000, healthy_after=5), (), 3000),
    ],
    ids=["the port asked for", "the exposed one", "the only one", "the one that listens when it has settled"],
)
def test_requests_go_to_the_port_that_is_meant_not_to_the_one_that_listens_first(
    app: App, exposed: tuple[int, ...], found: int
) -> None:
    world = World()
    identity = world.add(S.DEPLOYING, app)
    image = world.deployments[identity].image
    assert image
    world.deployments[identity] = replace(world.deployments[identity], image=replace(image, exposed_ports=exposed))
    world.settle()
    assert ports(world) == [found]
    assert_alone(world, identity)


def test_the_next_version_has_the_port_of_the_one_before_as_soon_as_it_listens() -> None:
    world = World()
    world.add(S.DEPLOYING, App(port=3000))
    world.settle()
    world.add(S.DEPLOYING, App(port=3000, first_port=2000, healthy_after=1))
    world.settle()
    assert ports(world) == [3000, 3000]
