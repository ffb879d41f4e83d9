"""Whose build is next, and which place a waiting one has: workspaces take turns, and each orders its own line. Pure.

The next turn is that of the workspace with the fewest builds under way; among equals, of the one whose last turn began longest
ago. So nobody's hundred builds keep another's one waiting for more than a turn of each workspace.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from trackside.rooms.deployments.model import Place, Priority
from trackside.rooms.projects.model import PRODUCTION

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """A deployment in the queue. `queued_at`: since when its service instance waits; `began_at` None: it waits for a slot."""

    deployment_id: UUID
    service_instance_id: UUID
    priority: Priority
    queued_at: datetime
    began_at: datetime | None = None


@dataclass(frozen=True)
class Line:
    """A workspace in numbers. `since`: when the first of those that wait came; `turn_at`: when its last turn began."""

    workspace_id: UUID
    waiting: int
    building: int
    since: datetime | None = None
    turn_at: datetime | None = None


def priority_of(environment: str, *, is_urgent: bool) -> Priority:
    """What a deployment to this environment has: what somebody calls urgent first, then what serves users, then the rest."""
    if is_urgent:
        return Priority.URGENT
    return Priority.PRODUCTION if environment == PRODUCTION else Priority.NORMAL


def taking_over(entry: Entry, older: Entry | None) -> Entry:
    """The place of a deployment that supersedes an older one which waits: it must not fall behind for being newer."""
    if older is None:
        return entry
    return Entry(
        entry.deployment_id,
        entry.service_instance_id,
        max(entry.priority, older.priority),
        min(entry.queued_at, older.queued_at),
    )


def next_turn(lines: Iterable[Line]) -> UUID | None:
    """The workspace whose turn is next; None where nobody waits."""
    waiting = [line for line in lines if line.waiting]
    return min(waiting, key=lambda line: (line.building, _before(line))).workspace_id if waiting else None


def places(lines: Sequence[Line], own: Line, turns: Collection[int]) -> dict[int, Place]:
    """The places of a workspace's waiting builds, by their turns: which of its line they are, counted from 0.

    Another's build goes before one's own turn `t` where it makes the other have fewer builds under way than `t` makes oneself, or
    as many and the other is before. So with each turn of one's own at most one more of each other goes before.
    """
    ahead, begins = 0, Counter[int]()
    for other in lines:
        if other.workspace_id != own.workspace_id:
            start = own.building - other.building + (_before(other) < _before(own))
            ahead += min(other.waiting, max(0, start))
            first, last = max(1, 1 - start), other.waiting - start
            if first <= last:
                begins[first] += 1
                begins[last + 1] -= 1
    waiting, building = sum(line.waiting for line in lines), sum(line.building for line in lines)
    found: dict[int, Place] = {}
    pace = 0
    for turn in range(max(turns, default=-1) + 1):
        pace += begins[turn]
        ahead += pace
        if turn in turns:
            found[turn] = Place(ahead + turn + 1, waiting, building)
    return found


def _before(line: Line) -> tuple[int, datetime, datetime, UUID]:
    """What workspaces with equally many builds under way, now or after some turns, are sorted by.

    Whoever has so many without a turn had its last one before all who got there by one, and those keep the order of the round
    before: so it is the number of builds now that counts first, the highest first.
    """
    return (-line.building, line.turn_at or _NEVER, line.since or _NEVER, line.workspace_id)
