"""The access log between HAProxy and its reader: a file, best in memory, that neither can lose a line of.

HAProxy appends whole lines and never waits. (Its rings and datagrams lose lines when the reader goes, or HAProxy's own
process at a reload.) The first page of the file holds how far the reader has come, so one that was killed goes on where
its lines were last taken over; what has been read is given back to the file system by punching a hole.
HAProxy counts the lines it writes and stops at a bound; the reader takes those that were taken over out of the count.
"""

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from trackside.adapters.proxy.access import read_line
from trackside.adapters.proxy.options import HAProxyOptions
from trackside.adapters.proxy.runtime import RuntimeSocket
from trackside.rooms.networking.errors import ProxyUnavailable
from trackside.rooms.networking.model import Access

log = structlog.get_logger()

PAGE = 4096
CHUNK = 256 << 10
FAR_BEHIND = 64 << 20
"""Unread bytes, about 200,000 lines."""
OFFSET = struct.Struct("<Q")
POLL_SECONDS = 0.1
LINES_AT_ONCE = 100
"""About a millisecond of work. More in one go, ten times a second, is felt in the 99th percentile of everybody's answers."""
SHORTEST_POLL = 0.01
FLOOD, FLOOD_POLL = 15_000, 1.0
"""From so many lines a second on, the processors are full: then it is each interruption that costs, and few long ones cost least."""
COUNT_SECONDS = 5.0
RETRY_SECONDS = 1.0
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
_libc = ctypes.CDLL(None, use_errno=True)


def open_log(path: Path, flags: int) -> int:
    """Open the log, made with its first page where it does not exist. Errors: OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(made).st_size < PAGE:
            os.pwrite(made, OFFSET.pack(PAGE).ljust(PAGE, b"\0"), 0)
    finally:
        os.close(made)
    return os.open(path, flags)


class AccessLog:
    """Reads the log and hands it on in batches.

    A batch that was not taken is handed on again, with what has come behind it. So is, by the next process, one that was
    taken when this one was killed before it had written that down: those lines, a chunk at most, are then there twice.
    """

    def __init__(
        self,
        options: HAProxyOptions,
        on_access: Callable[[Sequence[Access]], Awaitable[None]],
        tell: Callable[[bool], None] = lambda _: None,
        count_seconds: float = COUNT_SECONDS,
    ) -> None:
        """`tell` is told before each chunk whether so much is unread that it is time to catch up.

        HAProxy's count of unread lines, to which it keeps its bound, is looked at every `count_seconds`.
        """
        self._path = options.access_log
        self._on_access = on_access
        self._runtime = RuntimeSocket(options.runtime_socket)
        self._backlog = options.limits.logged_backlog
        self._tell = tell
        self._count_seconds = count_seconds
        self._taken = 0
        self._is_far = False

    async def run(self) -> None:
        """Read until cancelled. Where lines can't be taken over it waits and tries again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._count())

    async def _read(self) -> None:
        descriptor = open_log(self._path, os.O_RDWR)
        looked_at, taken = time.monotonic(), 0
        try:
            while True:
                try:
                    lines, is_full = await self._read_chunk(descriptor)
                except Exception as error:  # noqa: BLE001 — whatever the taker fails with: the lines stay in the log
                    log.warning("edge.access_log_waits", error=str(error))
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                taken += lines
                if is_full:
                    # There is more: only the rest of this process has its turn between.
                    await asyncio.sleep(0)
                    continue
                pause = next_pause(taken / max(time.monotonic() - looked_at, SHORTEST_POLL))
                looked_at, taken = time.monotonic(), 0
                # HAProxy tells nobody that it has written, so the file is looked at again and again.
                await asyncio.sleep(pause)
        finally:
            os.close(descriptor)

    async def _read_chunk(self, descriptor: int) -> tuple[int, bool]:
        """Take over one chunk: how many lines, and whether it was a full one."""
        (start,) = OFFSET.unpack(os.pread(descriptor, OFFSET.size, 0))
        unread = os.fstat(descriptor).st_size - start
        self._is_far = unread > (CHUNK if self._is_far else FAR_BEHIND)  # once it is far behind, until it has caught up
        self._tell(self._is_far)
        data = os.pread(descriptor, CHUNK, start)
        lines, length = complete_lines(data)
        if not length:
            return 0, False
        entries = [entry for line in lines if (entry := read_line(line))]
        if entries:
            await self._on_access(entries)
        os.pwrite(descriptor, OFFSET.pack(start + length), 0)
        _free(descriptor, start, start + length)
        self._taken += len(lines)
        return len(lines), len(data) == CHUNK

    async def _count(self) -> None:
        """Keep HAProxy's count to the lines that are unread, and say how many it has dropped."""
        while True:
            await asyncio.sleep(self._count_seconds)
            with suppress(ProxyUnavailable, OSError):
                await self._set_back()

    async def _set_back(self) -> None:
        """HAProxy counts on meanwhile, so what was taken over or dropped is taken off, and the rest stands.

        Where lines are taken and few are left, those are counted instead: an end of the reader or of HAProxy, and lines
        of what was no request, are in one of both numbers only.
        """
        taken, left = self._taken, unread(self._path) if self._taken else None
        (answer,) = await self._runtime.run(["get var proc.logged"])
        count = answer.rpartition("<")[2].rstrip(">\n ")
        dropped = max(0, int(count) - self._backlog) if count.isdigit() else 0
        rest = f"var(proc.logged),sub({taken + dropped})" if left is None else f"int({left})"
        await self._runtime.run(["experimental-mode on", f"set var proc.logged {rest}"])
        self._taken -= taken
        if dropped:
            log.error("edge.access_lines_dropped", lines=dropped)


def next_pause(rate: float) -> float:
    """Seconds until the next look, where so many lines come in a second: such that as many come as may be taken at once. Pure."""
    if rate > FLOOD:
        return FLOOD_POLL
    return min(POLL_SECONDS, max(SHORTEST_POLL, LINES_AT_ONCE / rate)) if rate else POLL_SECONDS


def unread(path: Path) -> int | None:
    """How many lines of the log are unread; None where they are more than a chunk. Errors: OSError."""
    with path.open("rb") as file:
        (start,) = OFFSET.unpack(file.read(OFFSET.size))
        file.seek(start)
        data = file.read(CHUNK)
    return None if len(data) == CHUNK else data.count(b"\n")


def complete_lines(data: bytes) -> tuple[list[bytes], int]:
    """The complete lines at the start of `data`, and how many bytes they take. A chunk without a line end is skipped."""
    end = data.rfind(b"\n") + 1
    if not end and len(data) == CHUNK:
        return [], CHUNK
    return data[:end].splitlines(), end


def _free(descriptor: int, start: int, end: int) -> None:
    """Give whole pages before `end` back to the file system; one that can't keeps them."""
    first, last = max(PAGE, start // PAGE * PAGE), end // PAGE * PAGE
    if last > first:
        _libc.fallocate(descriptor, _KEEP_SIZE_PUNCH_HOLE, ctypes.c_int64(first), ctypes.c_int64(last - first))
