"""The tables that steer the platform are complete: nothing that can happen is missing from them."""

import importlib
from dataclasses import is_dataclass
from inspect import getmembers, isclass
from typing import get_args
from uuid import uuid4

import pytest

from trackside import bootstrap
from trackside.kit.events import Event
from trackside.rooms.access.model import ANONYMOUS, ROLES, Actor, ActorKind, Grant, Permission, Role, Scope
from trackside.rooms.access.plan import Verdict, judge
from trackside.rooms.audit.plan import SENTENCES
from trackside.rooms.deployments.converge.writing import WRITERS
from trackside.rooms.deployments.model import ACTIVE, ENDED, PREPARING, TRANSITIONS, UNFINISHED, Status
from trackside.rooms.deployments.model.planning import WORLD, Action, AddReplicas
from trackside.subscriptions import SUBSCRIPTIONS

ROOMS_WITH_EVENTS = ("identity", "projects", "builds", "networking", "deployments")
WORKSPACE = uuid4()
SCOPE = Scope(WORKSPACE)

MATRIX = """
                    owner admin member deployer viewer
project.read          x     x      x       x       x
project.create        x     x      x       x       -
project.delete        x     x      -       -       -
service.write         x     x      x       x       -
config.read           x     x      x       x       x
config.write          x     x      x       x       -
variable.read         x     x      x       -       -
variable.reveal       x     x      x       -       -
variable.write        x     x      x       x       -
deployment.read       x     x      x       x       x
deployment.create     x     x      x       x       -
deployment.cancel     x     x      x       x       -
deployment.remove     x     x      x       x       -
log.read              x     x      x       x       x
event.read            x     x      x       x       x
token.create          x     x      -       -       -
"""


def _cells() -> list[tuple[Permission, Role, bool]]:
    head, *lines = [line.split() for line in MATRIX.strip().splitlines()]
    return [
        (Permission(line[0]), Role(role), mark == "x")
        for line in lines
        for role, mark in zip(head, line[1:], strict=True)
    ]


@pytest.mark.parametrize(("permission", "role", "allowed"), _cells(), ids=str)
def test_a_role_may_exactly_what_the_matrix_says(permission: Permission, role: Role, allowed: bool) -> None:
    actor = Actor("x", ActorKind.PERSON, "x", (Grant(WORKSPACE, role),))
    assert judge(actor, permission, SCOPE) is (Verdict.ALLOWED if allowed else Verdict.DENIED)


def test_the_matrix_names_every_permission_and_role() -> None:
    assert {(permission, role) for permission, role, _ in _cells()} == {(p, r) for p in Permission for r in ROLES}
    assert set(ROLES) == set(Role)


@pytest.mark.parametrize("permission", Permission)
def test_who_has_no_role_in_a_workspace_does_not_even_see_it(permission: Permission) -> None:
    elsewhere = Actor("x", ActorKind.TOKEN, "x", (Grant(uuid4(), Role.OWNER),))
    assert judge(elsewhere, permission, SCOPE) is Verdict.UNSEEN
    assert judge(ANONYMOUS, permission, SCOPE) is Verdict.ANONYMOUS


def test_every_status_has_its_transitions_and_can_be_left_or_is_an_end() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert {status for status, following in TRANSITIONS.items() if not following} == ENDED
    assert UNFINISHED | ACTIVE | ENDED | {Status.REMOVING} == set(Status)
    assert not UNFINISHED & ACTIVE
    assert PREPARING < UNFINISHED


def test_every_status_can_be_reached_and_leads_to_an_end() -> None:
    reached, waiting = {Status.INITIALIZING}, [Status.INITIALIZING]
    while waiting:
        fresh = TRANSITIONS[waiting.pop()] - reached
        reached |= fresh
        waiting += fresh
    assert reached == set(Status)
    for status in Status:
        seen, front = {status}, {status}
        while front:
            front = {following for one in front for following in TRANSITIONS[one]} - seen
            seen |= front
        assert seen & ENDED, status


def test_every_action_of_the_planner_has_a_writer() -> None:
    assert set(WRITERS) | {AddReplicas} == set(get_args(Action))  # replicas are added by the converger itself
    assert set(WORLD) < set(get_args(Action))


def _events(room: str) -> set[type[Event]]:
    module = importlib.import_module(f"trackside.rooms.{room}.events")
    return {kind for _, kind in getmembers(module, isclass) if issubclass(kind, Event) and kind is not Event}


@pytest.mark.parametrize("room", ROOMS_WITH_EVENTS)
def test_every_event_is_folded_by_its_own_room_and_is_a_frozen_fact_that_says_what_it_is(room: str) -> None:
    known = {service.__name__.split(".")[2]: service.PROJECTIONS for service in bootstrap.ROOMS}
    assert set(known[room]) == _events(room)
    for kind in _events(room):
        assert is_dataclass(kind)
        assert kind.__dataclass_params__.frozen  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


def test_names_of_events_are_unique_over_all_rooms() -> None:
    names = [kind.__name__ for room in ROOMS_WITH_EVENTS for kind in _events(room)]
    assert len(names) == len(set(names))


def test_every_event_of_a_workspace_is_told_in_a_sentence() -> None:
    told = {kind.__name__ for room in ROOMS_WITH_EVENTS for kind in _events(room) if kind.stream == "workspace"}
    assert told == set(SENTENCES)


def test_only_known_events_are_subscribed_to() -> None:
    assert set(SUBSCRIPTIONS) <= {kind for room in ROOMS_WITH_EVENTS for kind in _events(room)}


def test_every_read_model_belongs_to_one_room() -> None:
    tables = [table for model in bootstrap.READ_MODELS for table in (*model.shared, *model.workspace)]
    assert len(tables) == len(set(tables))
