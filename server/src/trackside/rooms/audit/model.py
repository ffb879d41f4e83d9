"""Values of the audit room: an event as it is told, and what may be asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Place:
    """What an event is about, by the names it had when it was made; None where the event is about more than one."""

    project: str | None = None
    project_id: str | None = None
    environment: str | None = None
    environment_id: str | None = None
    service: str | None = None
    service_id: str | None = None
    service_instance_id: str | None = None
    deployment_id: str | None = None


@dataclass(frozen=True)
class Fact:
    """An event as a plain value: its number in the workspace's stream, and its fields as JSON has them."""

    seq: int
    id: UUID
    type: str
    at: datetime
    actor: Mapping[str, str]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """An event for people and programs. `seq` is also the cursor to go on from."""

    seq: int
    id: UUID
    type: str
    at: datetime
    actor: Mapping[str, str]
    sentence: str
    place: Place
    data: Mapping[str, Any]


@dataclass(frozen=True)
class About:
    """What events may be about; all that is given must fit. Nothing given: everything in the workspace."""

    project_id: UUID | None = None
    environment_id: UUID | None = None
    service_id: UUID | None = None
    deployment_id: UUID | None = None


@dataclass(frozen=True)
class Subjects:
    """What `About` comes to: events about these ids, and commits of these environments' configs that name these services."""

    ids: frozenset[UUID]
    environments: frozenset[UUID] = frozenset()
    services: frozenset[UUID] = frozenset()


@dataclass(frozen=True)
class EventQuery:
    """Which events: those after a number, since and until a time, of these types (none: of all). `newest`: the last ones."""

    after: int = 0
    since: datetime | None = None
    until: datetime | None = None
    types: tuple[str, ...] = ()
    about: About = About()
    limit: int = 100
    newest: bool = False


@dataclass(frozen=True)
class Page:
    """Events in their order. `cursor`: everything up to this number has been told, or does not fit what was asked for."""

    events: tuple[Told, ...]
    cursor: int
