"""Failpoints: named points at which a process can be halted, so that a test kills something exactly there.

Off unless a folder is given (`TRACKSIDE_FAILPOINTS`). Then each point that a process comes to leaves a file in `passed/`; one
that is named in `armed/` moves to `halted/`, once, and the whole process stands still until that file is gone. Modules declare
their points where they are imported, so the list of all points is read from the code and a new one can't be forgotten.
"""

import os
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

MOMENTS = ("before", "after")
PASSED, ARMED, HALTED = "passed", "armed", "halted"
LOOK_SECONDS = 0.002

_declared: set[str] = set()
_folder: Path | None = None
_process = ""


def declare(*points: str) -> None:
    """Make points known."""
    _declared.update(points)


def declare_around(steps: Iterable[str]) -> None:
    """Make the points before and after each step known."""
    declare(*(f"{step}.{moment}" for step in steps for moment in MOMENTS))


def declared() -> frozenset[str]:
    """Every point of the modules that were imported."""
    return frozenset(_declared)


def turn_on(folder: Path, process: str) -> None:
    """Have this process heed the folder's wishes."""
    global _folder, _process
    for name in (PASSED, ARMED, HALTED):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _folder, _process = folder, process


@contextmanager
def around(step: str) -> Generator[None]:
    """Come to the point before a step, and to the one after it where it did not fail."""
    reach(f"{step}.before")
    yield
    reach(f"{step}.after")


def reach(point: str) -> None:
    """Come to a point: halts here where that is wished for. Raises `LookupError` for a point nobody declared."""
    if _folder is None:
        return
    if point not in _declared:
        raise LookupError(f"the failpoint `{point}` is not declared")
    name = f"{_process}@{point}"
    (_folder / PASSED / name).touch()
    halted = _folder / HALTED / name
    try:
        os.rename(_folder / ARMED / name, halted)
    except FileNotFoundError:
        return
    while halted.exists():
        time.sleep(LOOK_SECONDS)  # noqa: TID251 — the process is to stand still, with all it does
