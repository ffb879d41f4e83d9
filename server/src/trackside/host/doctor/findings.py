"""What the doctor says, and what it is told before it looks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from trackside.host.machine import Machine
from trackside.rooms.builds.model import LeastSpace


class Health(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One check's result: what was looked at, how it is, in a sentence, and what mends it (empty where nothing is wrong)."""

    check: str
    health: Health
    sentence: str
    mend: str = ""


@dataclass(frozen=True)
class Surroundings:
    """Settings about what lies around the machine. `mirrors`: addresses that builds are sent to; `database_url`: "" = embedded."""

    base_domain: str = "localhost"
    upstream_resolvers: tuple[str, ...] = ()
    ca_bundle: Path | None = None
    mirrors: tuple[str, ...] = ()
    database_url: str = ""
    least_space: LeastSpace = field(default_factory=LeastSpace)


@dataclass(frozen=True)
class Patient:
    """What is examined."""

    machine: Machine
    surroundings: Surroundings = field(default_factory=Surroundings)


Check = Callable[[Patient], Awaitable[Finding]]


def ok(check: str, sentence: str) -> Finding:
    return Finding(check, Health.OK, sentence)


def warning(check: str, sentence: str, mend: str) -> Finding:
    return Finding(check, Health.WARNING, sentence, mend)


def failed(check: str, sentence: str, mend: str) -> Finding:
    return Finding(check, Health.FAILED, sentence, mend)
