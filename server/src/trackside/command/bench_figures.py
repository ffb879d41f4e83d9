"""From times to figures: medians, shares, and where the time of a deployment goes. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import median
from typing import Any

from trackside.command.bench_engine import Floor
from trackside.command.bench_platform import Attempt, moment

Mark = tuple[datetime, str]


@dataclass(frozen=True)
class Shared:
    """Seconds of one deployment: all of it, what the physical world took of it, and what is left for the platform."""

    wall: float
    engine_start: float
    answer: float
    stop: float

    @property
    def own(self) -> float:
        return self.wall - self.engine_start - self.answer - self.stop


@dataclass(frozen=True)
class Stage:
    """A moment of a deployment. `offset`: seconds after the 202; `took`: since the moment before it. Medians."""

    name: str
    offset: float
    took: float


@dataclass(frozen=True)
class Runs:
    """Repeated deployments of one kind."""

    shares: Sequence[Shared]
    floors: Sequence[Floor]
    stages: Sequence[Stage]

    def medians(self) -> dict[str, float]:
        """The median of each part, in seconds."""
        parts = {name: median(getattr(share, name) for share in self.shares) for name in ("wall", "own")}
        taken = {
            name: median(getattr(share, name) for share in self.shares) for name in ("engine_start", "answer", "stop")
        }
        floors = {f"floor_{name}": median(getattr(f, name) for f in self.floors) for name in asdict(self.floors[0])}
        return parts | taken | floors | {"own_p90": percentile([share.own for share in self.shares], 0.9)}


def share_of(attempt: Attempt, engine_start: float, floor: Floor, marks: Sequence[Mark]) -> Shared:
    """What the platform itself took of one deployment.

    The engine's part is the engine's own record of this very container; the app's start is that of the same container
    without the platform; the old version's end is from its stop signal to its exit.
    """
    return Shared(attempt.wall, engine_start, floor.answer, stop_of(marks))


def stop_of(marks: Sequence[Mark]) -> float:
    """Seconds between the old version's stop signal and its exit; 0 where none was stopped."""
    at = {name: when for when, name in reversed(marks)}
    signalled, ended = at.get("engine: container signalled"), at.get("engine: container ended")
    return (ended - signalled).total_seconds() if signalled and ended else 0.0


def marks_of_events(events: Sequence[Mapping[str, Any]]) -> list[Mark]:
    """The platform's own events as marks."""
    return [(moment(event["at"]), _name(event)) for event in events]


def _name(event: Mapping[str, Any]) -> str:
    data = event["data"]
    detail = data.get("step") or data.get("status") or ""
    return f"{event['type']} {detail}".strip()


def stages(runs: Sequence[tuple[Attempt, Sequence[Mark]]]) -> list[Stage]:
    """Where the time goes: the moments that every run had, in the order in which they usually come."""
    offsets: defaultdict[str, list[float]] = defaultdict(list)
    for attempt, marks in runs:
        first = {name: at for at, name in sorted([*marks, *marks_of_events(attempt.events)], reverse=True)}
        for name, at in first.items():
            offsets[name].append((at - attempt.accepted).total_seconds())
    usual = sorted((median(found), name) for name, found in offsets.items() if len(found) * 2 > len(runs))
    return [
        Stage(name, offset, offset - (usual[number - 1][0] if number else min(offset, 0.0)))
        for number, (offset, name) in enumerate(usual)
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, round(share * len(ranked) + 0.5) - 1))]
