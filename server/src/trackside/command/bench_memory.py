"""What the platform's own processes take while nothing happens: memory and processor time."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from trackside.command.bench_platform import Platform
from trackside.host.process_table import cpu_of_tree, memory_of_tree

Number = TypeVar("Number", int, float)
CALM = 5.0
"""Seconds without a request before it is read."""
WATCHED = 60.0
ENGINES = ("containerd", "engine", "build-engine")


@dataclass(frozen=True)
class Idle:
    """By process, each with its children: bytes (every shared page counted by its share, PSS) and the part of one core.

    The container engines are apart: a machine may have had one already.
    """

    memory: Mapping[str, int]
    cpu: Mapping[str, float]

    @property
    def own_memory(self) -> int:
        return sum(size for name, size in self.memory.items() if name not in ENGINES)

    @property
    def own_cpu(self) -> float:
        return sum(part for name, part in self.cpu.items() if name not in ENGINES)


async def idle(platform: Platform) -> Idle:
    """Watch the platform for a minute in which nobody asks it for anything."""
    await asyncio.sleep(CALM)
    pids = {found["name"]: found["pid"] for found in platform.status["processes"]}
    memory = memory_by_process(pids)
    before, began = _each(pids), time.monotonic()
    await asyncio.sleep(WATCHED)
    seconds = time.monotonic() - began
    cpu = {name: max(0.0, spent - before[name]) / seconds for name, spent in _each(pids).items()}
    return Idle(memory, cpu)


def memory_by_process(pids: Mapping[str, int]) -> dict[str, int]:
    """Bytes by process, each with its children."""
    return _alone({name: memory_of_tree(pid) for name, pid in pids.items()})


def _each(pids: Mapping[str, int]) -> dict[str, float]:
    return _alone({name: cpu_of_tree(pid) for name, pid in pids.items()})


def _alone(found: Mapping[str, Number]) -> dict[str, Number]:
    """All others are the supervisor's children: only what is left of its tree is its own."""
    rest = sum(value for name, value in found.items() if name != "supervisor")
    return {**found, "supervisor": max(found["supervisor"] - rest, 0)}
