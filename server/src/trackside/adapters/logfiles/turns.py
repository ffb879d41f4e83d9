"""Turns at storing replicas' lines, as locked files: port `Turns` for the processes of one machine.

A file per replica: its lock says who stores just now, its text (the mark) who was the last to take over. The kernel lets go
of a killed process's locks.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from trackside.kit.ids import new_id
from trackside.rooms.telemetry.errors import LogsUnavailable

FIRST_LOOK = 0.002
LONGEST_LOOK = 0.05
PATIENCE = 30.0
COLLECTOR = "collector"
MARK_BYTES = 64
FORGOTTEN_AFTER = 3600.0


class FileTurns:
    """Lock files below `root`, which is made when needed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @asynccontextmanager
    async def take(self, replica_id: UUID) -> AsyncGenerator[str]:
        descriptor = await self._lock(str(replica_id), PATIENCE)
        try:
            mark = new_id().hex
            self._mark(descriptor, mark)
            yield mark
        finally:
            os.close(descriptor)

    @asynccontextmanager
    async def again(self, replica_id: UUID, mark: str) -> AsyncGenerator[bool]:
        descriptor = await self._lock(str(replica_id), PATIENCE)
        try:
            yield os.pread(descriptor, MARK_BYTES, 0) == mark.encode()
        finally:
            os.close(descriptor)

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        descriptor = await self._lock(COLLECTOR, float("inf"))
        try:
            yield
        finally:
            os.close(descriptor)

    async def keep_only(self, replica_ids: Collection[UUID]) -> None:
        kept = {COLLECTOR, *map(str, replica_ids)}
        for path in self._root.glob("*"):
            if path.name not in kept and path.stat().st_mtime < time.time() - FORGOTTEN_AFTER:
                await self._forget(path)

    async def _forget(self, path: Path) -> None:
        descriptor = await self._lock(path.name, PATIENCE)
        path.unlink(missing_ok=True)  # whoever waits for it finds the file gone and makes a new one
        os.close(descriptor)

    def _mark(self, descriptor: int, mark: str) -> None:
        try:
            os.pwrite(descriptor, mark.encode(), 0)
        except OSError as error:
            raise LogsUnavailable(f"A lock below {self._root} can't be written: {error.strerror}.") from error

    async def _lock(self, name: str, patience: float) -> int:
        """The descriptor that holds the lock; waits for it without blocking a thread."""
        pause, deadline = FIRST_LOOK, time.monotonic() + patience
        while (descriptor := self._try(name)) is None:
            if time.monotonic() > deadline:
                raise LogsUnavailable(
                    f"Another process holds the log of replica {name} for more than {patience:.0f} s."
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_LOOK)
        return descriptor

    def _try(self, name: str) -> int | None:
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LogsUnavailable(f"Locks can't be made below {self._root}: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)
        return None
