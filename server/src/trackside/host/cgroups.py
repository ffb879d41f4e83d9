"""Control groups: made, limited, joined and removed, on machines with version 1, version 2 or both."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trackside.host.cgroup_limits import V1_CONTROLLERS, Limits, v1_files, v2_files

CGROUPS = Path("/sys/fs/cgroup")
REQUIRED_FILES = frozenset({"cpu.max", "cpu.cfs_quota_us", "memory.max", "memory.limit_in_bytes"})
"""Without these a limit would not hold, so failing to write them is an error; the others are best effort by kernel."""


@dataclass(frozen=True)
class Hierarchies:
    """Where the kernel shows control groups: controllers of version 1 by name, and version 2."""

    v1: Mapping[str, Path]
    v2: Path | None

    @property
    def limits_by_v2(self) -> bool:
        """Whether version 2 holds the controllers (where both are mounted, version 1 has them)."""
        return self.v2 is not None and "memory" not in self.v1

    @property
    def roots(self) -> list[Path]:
        return [*dict.fromkeys(self.v1.values()), *([self.v2] if self.v2 else [])]


def read_hierarchies(mounts: str) -> Hierarchies:
    """Read them from the text of /proc/mounts. Pure."""
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            v2 = v2 or Path(where)
        elif kind == "cgroup":
            names = [name for name in options.split(",") if name in V1_CONTROLLERS or name.startswith("name=")]
            v1 |= {name: Path(where) for name in names if name not in v1}
            if not names:
                v1.setdefault(Path(where).name, Path(where))
    return Hierarchies(v1, v2)


def system_hierarchies() -> Hierarchies:
    return read_hierarchies(Path("/proc/mounts").read_text(encoding="utf-8"))


class ControlGroups:
    """The control groups of this machine; a group is named by its path from the root, as in `/trackside-1f2e3d4c/build`."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        self._hierarchies = hierarchies

    def create(self, group: str, limits: Limits) -> None:
        """Have the group in every hierarchy, with these limits. Errors: OSError where the kernel refuses one that must hold."""
        for root in self._hierarchies.roots:
            self._make(root, group)
        for directory, files in self._wanted(group, limits):
            refused = [
                (directory / name, value) for name, value in files.items() if not _is_set(directory / name, value)
            ]
            for file, value in refused:  # again: some values are only taken after others, depending on the former ones
                if not _is_set(file, value) and file.name in REQUIRED_FILES:
                    raise OSError(f"{file} does not take {value}")

    def join(self, group: str, pid: int) -> None:
        """Move a process (and so its later children) into the group, wherever there is one. Errors: OSError where there is none."""
        directories = [self._directory(root, group) for root in self._hierarchies.roots]
        present = [directory for directory in directories if directory.is_dir()]
        if not present:
            raise FileNotFoundError(f"There is no control group {group}.")
        for directory in present:
            (directory / "cgroup.procs").write_text(str(pid))

    def path_for_firewall(self, group: str) -> str | None:
        """The group as nftables names it, below /sys/fs/cgroup; None where version 2 is not mounted there."""
        root = self._hierarchies.v2
        if root is None or not root.is_relative_to(CGROUPS):
            return None
        return self._directory(root, group).relative_to(CGROUPS).as_posix()

    def processes(self, group: str) -> set[int]:
        """Processes in the group or below it."""
        found: set[int] = set()
        for root in self._hierarchies.roots:
            for directory in self._below(root, group):
                with suppress(OSError):
                    found |= {int(line) for line in (directory / "cgroup.procs").read_text().split()}
        return found

    def kill(self, group: str, *, seconds: float = 5) -> None:
        """SIGKILL to everything in the group or below, until nothing is left."""
        deadline = time.monotonic() + seconds
        while (pids := self.processes(group) - {0}) and time.monotonic() < deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def remove(self, group: str) -> None:
        """Remove the group and those below it; what still holds a process stays."""
        for root in self._hierarchies.roots:
            for directory in self._below(root, group):
                with suppress(OSError):
                    directory.rmdir()

    def existing(self, group: str) -> list[Path]:
        """Every directory of the group or below, in all hierarchies."""
        return [directory for root in self._hierarchies.roots for directory in self._below(root, group)]

    def _wanted(self, group: str, limits: Limits) -> Iterator[tuple[Path, dict[str, str]]]:
        if self._hierarchies.limits_by_v2 and self._hierarchies.v2:
            yield self._directory(self._hierarchies.v2, group), v2_files(limits)
            return
        for controller, files in v1_files(limits).items():
            if root := self._hierarchies.v1.get(controller):
                yield self._directory(root, group), files

    def _make(self, root: Path, group: str) -> None:
        """On version 2 each parent must hand its controllers down; on version 1 cpusets must be filled before use."""
        directory = root
        for name in Path(group).parts[1:]:
            if self._hierarchies.limits_by_v2:
                self._delegate(directory)
            parent, directory = directory, directory / name
            directory.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not self._hierarchies.limits_by_v2:
                    with suppress(OSError):
                        if not (directory / file).read_text().strip():
                            (directory / file).write_text((parent / file).read_text())

    def _delegate(self, directory: Path) -> None:
        for controller in ("cpu", "memory", "pids", "io", "cpuset"):
            with suppress(OSError):
                (directory / "cgroup.subtree_control").write_text(f"+{controller}")

    def _directory(self, root: Path, group: str) -> Path:
        """Errors: ValueError for the root of all groups, which holds every process of the machine."""
        path = root / group.lstrip("/")
        if path == root or ".." in path.parts or not path.name.strip():
            raise ValueError(f"`{group}` is no group of ours")
        return path

    def _below(self, root: Path, group: str) -> list[Path]:
        """The deepest first."""
        top = self._directory(root, group)
        if not top.is_dir():
            return []
        return [Path(where) for where, _, _ in os.walk(top, topdown=False)]


def _is_set(file: Path, value: str) -> bool:
    try:
        file.write_text(value)
    except OSError:
        return False
    return True
