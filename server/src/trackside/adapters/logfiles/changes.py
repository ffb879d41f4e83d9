"""Waking readers when a directory's files change: the kernel's inotify, one instance per process.

With it a thousand quiet followers cost nothing. Where the kernel gives none, followers look ten times a second.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

MODIFY, CREATE, MOVED_TO, DELETE_SELF = 0x2, 0x100, 0x80, 0x400
EVENT = struct.Struct("iIII")
LOOK_SECONDS = 0.1
SAFETY_SECONDS = 5.0


class Change:
    """Waits for a change of one directory."""

    def __init__(self, is_told: bool) -> None:
        self._event = asyncio.Event()
        self._seconds = SAFETY_SECONDS if is_told else LOOK_SECONDS

    def tell(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Until something changed since the last wait; some seconds at most, should the kernel have forgotten us."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._event.wait()
        self._event.clear()


class Changes:
    """The directories watched now. Belongs to one event loop."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = -1
        self._waiting: dict[int, set[Change]] = {}

    @contextmanager
    def of(self, directory: Path) -> Generator[Change]:
        """Watch a directory meanwhile; one that does not exist, or can't be watched, is looked at again and again."""
        watch = self._add(directory)
        change = Change(is_told=watch >= 0)
        self._waiting.setdefault(watch, set()).add(change)
        try:
            yield change
        finally:
            self._leave(watch, change)

    def close(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _add(self, directory: Path) -> int:
        if self._descriptor < 0:
            self._descriptor = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._descriptor < 0:
                return -1
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        mask = MODIFY | CREATE | MOVED_TO | DELETE_SELF
        return self._library.inotify_add_watch(self._descriptor, os.fsencode(directory), mask)

    def _leave(self, watch: int, change: Change) -> None:
        present = self._waiting.get(watch, set())
        present.discard(change)
        if not present:
            self._waiting.pop(watch, None)
            if watch >= 0 and self._descriptor >= 0:
                self._library.inotify_rm_watch(self._descriptor, watch)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, _, _, length = EVENT.unpack_from(data, at)
            at += EVENT.size + length
            for change in self._waiting.get(watch, ()):
                change.tell()
