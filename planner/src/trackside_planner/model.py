"""The values of planning: what was found, what was decided and why, and the steps that make the image."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class MountKind(StrEnum):
    CACHE = "cache"
    SECRET = "secret"


@dataclass(frozen=True)
class Mount:
    """A directory or file that a step sees while it runs and that never becomes part of the image.

    A cache whose `name` starts with `SHARED_CACHE` is written by steps of ours only, so that all builds may share it; every
    other cache belongs to one workspace.
    """

    kind: MountKind
    name: str
    target: str


SHARED_CACHE = "trackside-shared-"


@dataclass(frozen=True)
class Run:
    """A command for `/bin/sh`. `uses_variables`: it sees the service's variables, and runs again when they change."""

    command: str
    mounts: tuple[Mount, ...] = ()
    uses_variables: bool = False


@dataclass(frozen=True)
class Copy:
    """Files from the source tree, or from an earlier stage (`stage`). `is_owned`: they belong to the app's user."""

    sources: tuple[str, ...]
    destination: str
    stage: str | None = None
    is_owned: bool = False


@dataclass(frozen=True)
class Environment:
    """Variables that hold in later steps and in the running container."""

    variables: Mapping[str, str]


Step = Run | Copy | Environment


@dataclass(frozen=True)
class Stage:
    """One stage of the image's making: starts from an image or from an earlier stage."""

    name: str
    base: str
    steps: tuple[Step, ...]
    comment: str = ""


@dataclass(frozen=True)
class Decision:
    """One thing that was decided: by which rule, because of which file, and what lost."""

    subject: str
    choice: str
    rule: str
    file: str | None = None
    alternatives: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for a log."""
        file = f" ({self.file})" if self.file else ""
        others = f"; not {', '.join(self.alternatives)}" if self.alternatives else ""
        return f"{self.subject}: {self.choice}, by {self.rule}{file}{others}"


@dataclass(frozen=True)
class PlanSettings:
    """What people said outright; it wins over anything that the tree says."""

    build_command: str | None = None
    start_command: str | None = None


@dataclass(frozen=True)
class Draft:
    """What a provider proposes; `plan` completes it into a build plan.

    `start_command` is None where the provider found no way to start; `start_hint` says then what would help.
    """

    provider: str
    base_image: str
    stages: tuple[Stage, ...]
    decisions: tuple[Decision, ...]
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    start_command: str | None = None
    start_hint: str = ""


@dataclass(frozen=True)
class BuildPlan:
    """How a source tree becomes an image. Pure data: the same tree and settings always give the same plan."""

    provider: str
    base_image: str
    versions: Mapping[str, str]
    stages: tuple[Stage, ...]
    start_command: str
    processes: Mapping[str, str]
    pre_deploy_command: str | None
    port_expected: bool
    reasons: tuple[Decision, ...]

    @property
    def caches(self) -> tuple[str, ...]:
        """Names of all cache mounts, sorted."""
        return self._mounts(MountKind.CACHE)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of all secret mounts, sorted."""
        return self._mounts(MountKind.SECRET)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over everything that shapes the image; two plans with one hash build the same."""
        content = asdict(self)
        del content["reasons"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _mounts(self, kind: MountKind) -> tuple[str, ...]:
        runs = (step for stage in self.stages for step in stage.steps if isinstance(step, Run))
        return tuple(sorted({mount.name for run in runs for mount in run.mounts if mount.kind is kind}))
