"""The build queue's order: turns between workspaces, a line within each, and places that say what will really happen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from trackside.rooms.deployments.model import Priority
from trackside.rooms.deployments.plan.queue import Entry, Line, next_turn, places, priority_of, taking_over

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def workspace(number: int) -> UUID:
    return UUID(int=number)


times = st.one_of(st.none(), st.integers(0, 50).map(at))
numbers = st.builds(
    Line,
    workspace_id=st.just(workspace(0)),
    waiting=st.integers(0, 6),
    building=st.integers(0, 4),
    since=st.integers(0, 9).map(at),
    turn_at=times,
)
queues = st.lists(numbers, min_size=1, max_size=6).map(
    lambda lines: [
        replace(line, workspace_id=workspace(index), turn_at=line.turn_at and line.turn_at + timedelta(days=index))
        for index, line in enumerate(lines)
    ]
)
"""Workspaces whose last turns began at different moments, as they do."""


@dataclass
class Turns:
    """The queue worked off by slots that never end a build."""

    lines: list[Line]
    taken: list[UUID]

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Turns":
        turns = cls(list(lines), [])
        while (chosen := next_turn(turns.lines)) is not None:
            turns.take(chosen)
        return turns

    def take(self, chosen: UUID) -> None:
        self.taken.append(chosen)
        now = START + timedelta(days=100, seconds=len(self.taken))
        self.lines = [
            replace(line, waiting=line.waiting - 1, building=line.building + 1, turn_at=now)
            if line.workspace_id == chosen
            else line
            for line in self.lines
        ]


@given(queues)
def test_everything_that_waits_has_its_turn_exactly_once(lines: list[Line]) -> None:
    taken = Turns.of(lines).taken
    assert {line.workspace_id: taken.count(line.workspace_id) for line in lines} == {
        line.workspace_id: line.waiting for line in lines
    }


@given(queues)
def test_a_place_is_the_number_of_the_turn_that_the_build_will_have(lines: list[Line]) -> None:
    taken = Turns.of(lines).taken
    for own in lines:
        told = places(lines, own, range(own.waiting))
        turns = [number for number, chosen in enumerate(taken, 1) if chosen == own.workspace_id]
        assert [place.place for place in told.values()] == turns
        assert {(place.waiting, place.building) for place in told.values()} <= {
            (sum(line.waiting for line in lines), sum(line.building for line in lines))
        }


@given(queues, st.integers(0, 5), st.integers(1, 1000))
def test_nobody_waits_longer_for_another_workspace_s_builds_being_many(
    lines: list[Line], whose: int, more: int
) -> None:
    """Between two turns of a workspace that waits, each other has at most one per slot that is free for it."""
    own = lines[whose % len(lines)]
    if not own.waiting:
        return
    others = [line for line in lines if line is not own]
    idle = [replace(line, building=0, waiting=line.waiting + more) for line in others]
    assert places([own, *idle], own, [0])[0].place <= 1 + len(others) * (own.building + 1)


def test_a_hundred_builds_of_one_workspace_let_another_s_first_go_next() -> None:
    many = Line(workspace(1), 100, 1, since=at(0), turn_at=at(9))
    one = Line(workspace(2), 1, 0, since=at(10))
    assert next_turn([many, one]) == one.workspace_id
    assert places([many, one], one, [0])[0].place == 1


def test_workspaces_with_one_slot_between_them_take_turns() -> None:
    """Each build ends before the next begins: what is remembered is only who had the last turn."""
    lines = [Line(workspace(1), 3, 0, since=at(0)), Line(workspace(2), 3, 0, since=at(1))]
    order: list[UUID] = []
    for second in range(6):
        chosen = next_turn(lines)
        assert chosen is not None
        order.append(chosen)
        lines = [
            replace(line, waiting=line.waiting - 1, turn_at=at(100 + second)) if line.workspace_id == chosen else line
            for line in lines
        ]
    assert order == [workspace(1), workspace(2)] * 3


def test_where_nobody_waits_nothing_is_next() -> None:
    assert next_turn([Line(workspace(1), 0, 2)]) is None
    assert next_turn([]) is None


def test_only_the_places_asked_for_are_told() -> None:
    own = Line(workspace(1), 5, 1, since=at(0), turn_at=at(1))
    assert {turn: place.place for turn, place in places([own], own, [4, 1]).items()} == {1: 2, 4: 5}
    assert places([own], own, []) == {}


def test_urgent_goes_before_production_and_production_before_the_rest() -> None:
    assert (
        priority_of("production", is_urgent=True)
        == priority_of("preview", is_urgent=True)
        > priority_of("production", is_urgent=False)
        > priority_of("preview", is_urgent=False)
    )


def test_a_newer_deployment_takes_the_place_of_the_one_it_supersedes_and_never_a_worse_one() -> None:
    older = Entry(UUID(int=1), UUID(int=9), Priority.URGENT, at(0))
    newer = Entry(UUID(int=2), UUID(int=9), Priority.NORMAL, at(5))
    assert taking_over(newer, older) == Entry(UUID(int=2), UUID(int=9), Priority.URGENT, at(0))
    assert taking_over(newer, None) == newer
    assert taking_over(replace(newer, priority=Priority.URGENT), replace(older, priority=Priority.NORMAL)).priority == 2
