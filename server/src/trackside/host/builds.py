"""The engine that runs builds: apart from the apps' engine, with its own bridge, disk, and limits on CPU, memory and disk.

Limits hold for the steps of builds and for the engine itself: packing and unpacking layers is work too. Building yields to
everything else on the machine, and keeps to some of its processors, so that a neighbour's answers do not become slower.
"""

import asyncio
import math
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from trackside.host.bridges import ensure_bridge, gateway_of
from trackside.host.cgroup_limits import Limits
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.engine import prepare_engine
from trackside.host.engine_config import EnginePlan
from trackside.host.launch import Launch
from trackside.host.loop_disk import LoopDisk

ENGINE_MEMORY_BYTES = 1 << 30
"""The build engine's own share: it holds no more than the layers it packs at a moment."""
MOST_PROCESSES = 4096
WEIGHT = 5


@dataclass(frozen=True)
class BuildEnginePlan:
    """What the build engine is given. `group`'s children are `engine` and `steps`; `cpu` is in cores, sizes in bytes.

    `cores` are the processors it keeps to (empty: all).
    """

    data: Path
    disk_file: Path
    run: Path
    socket: Path
    containerd_socket: Path
    group: str
    bridge: str
    network: IPv4Network
    cpu: float
    memory_bytes: int
    disk_bytes: int
    insecure_registry: str = ""
    cores: tuple[int, ...] = ()

    @property
    def steps_group(self) -> str:
        return f"{self.group}/steps"

    @property
    def engine_group(self) -> str:
        return f"{self.group}/engine"

    @property
    def disk(self) -> LoopDisk:
        return LoopDisk(self.disk_file, self.data, self.disk_bytes)


def build_cpu(setting: float, cores: int | None = None) -> float:
    """Cores that builds may use: what is set, else half of the machine, at least one."""
    return setting or max(1.0, (cores or os.cpu_count() or 1) / 2)


def build_cores(cpu: float, available: Collection[int]) -> tuple[int, ...]:
    """The processors that so much building keeps to: the last ones; where there are others, those are free of it."""
    return tuple(sorted(available)[-math.ceil(cpu) :])


def group_limits(plan: BuildEnginePlan) -> dict[str, Limits]:
    """Control group → limits, parents first. Pure."""
    return {
        plan.group: Limits(plan.cpu, plan.cores, weight=WEIGHT, yields=True, processes=2 * MOST_PROCESSES),
        plan.engine_group: Limits(cores=plan.cores, memory_bytes=ENGINE_MEMORY_BYTES),
        plan.steps_group: Limits(cores=plan.cores, memory_bytes=plan.memory_bytes, processes=MOST_PROCESSES),
    }


class BuildEngine:
    """The build engine's surroundings: what must stand before it starts, and goes after it stops."""

    def __init__(self, plan: BuildEnginePlan) -> None:
        self._plan = plan
        self._groups = ControlGroups(system_hierarchies())

    async def prepare(self) -> Launch:
        """Have bridge, disk and control groups; how to start the engine. Idempotent.

        Errors: `LoopUnavailable`, `CommandFailed`.
        """
        plan = self._plan
        for group, limits in group_limits(plan).items():
            await asyncio.to_thread(self._groups.create, group, limits)
        await ensure_bridge(plan.bridge, plan.network)
        await plan.disk.attach()
        engine = EnginePlan(
            name="trackside-builds",
            data=plan.data / "engine",
            run=plan.run,
            socket=plan.socket,
            containerd_socket=plan.containerd_socket,
            control_group=plan.steps_group,
            bridge=plan.bridge,
            resolver=gateway_of(plan.network),
            insecure_registry=plan.insecure_registry,
        )
        return prepare_engine(engine, join=plan.engine_group)

    async def clear(self) -> None:
        """After the engine has stopped: end what is left of builds, unmount the disk. The bridge goes with all of ours."""
        await asyncio.to_thread(self._groups.kill, self._plan.group)
        await self._plan.disk.detach()
        with suppress(OSError):
            self._plan.data.rmdir()
        await asyncio.to_thread(self._groups.remove, self._plan.group)
