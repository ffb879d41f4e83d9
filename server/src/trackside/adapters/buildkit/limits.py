"""Which limit ended a build: read from the control group and from what the build said."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trackside.rooms.builds.model import Limit

CONTROL_GROUPS = Path("/sys/fs/cgroup")
_KILLED = re.compile(
    r"\bKilled\b|signal: killed|signal 9|out of memory|OOMKilled|Cannot allocate memory|exit code: 137|heap out of memory",
    re.IGNORECASE,
)
_FULL = re.compile(r"no space left on device|ENOSPC|disk quota exceeded", re.IGNORECASE)
KILLED_CODE = 137


@dataclass(frozen=True)
class MemoryPressure:
    """How often the builds' control group has run into its limit, and killed for it."""

    refused: int = 0
    killed: int = 0


def read_memory_pressure(cgroup: str, root: Path = CONTROL_GROUPS) -> MemoryPressure:
    """From `memory.failcnt` (version 1) or `memory.events` (version 2); zeros where the group is not there."""
    name = cgroup.strip("/")
    if not name:
        return MemoryPressure()
    refused = _text(root / "memory" / name / "memory.failcnt")
    if refused is not None:
        killed = _field(_text(root / "memory" / name / "memory.oom_control") or "", "oom_kill")
        return MemoryPressure(int(refused), killed)
    events = _text(root / name / "memory.events") or ""
    return MemoryPressure(_field(events, "max"), _field(events, "oom_kill"))


def which_limit(
    before: MemoryPressure, after: MemoryPressure, exit_code: int | None, said: Sequence[str]
) -> Limit | None:
    """The limit that ended a build, or None. `said` are the last lines of the failed step and its error.

    Running into the memory limit alone is no proof (the file cache does so too): something must have been killed as well.
    """
    text = "\n".join(said)
    if _FULL.search(text):
        return Limit.DISK
    was_killed = exit_code == KILLED_CODE or _KILLED.search(text) is not None
    if after.killed > before.killed or (after.refused > before.refused and was_killed):
        return Limit.MEMORY
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _field(text: str, name: str) -> int:
    match = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0
