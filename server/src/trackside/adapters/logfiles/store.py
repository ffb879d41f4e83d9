"""The log store on segment files: port `LogStore`, for any number of processes on one machine.

`<root>/<workspace>/<kind>/<owner>/` is a stream's directory. Files are the writer's, the reader's and the segments' matter.
"""

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import UUID

from trackside.adapters.logfiles import reader
from trackside.adapters.logfiles.changes import Changes
from trackside.adapters.logfiles.reader import Query, Tail
from trackside.adapters.logfiles.writer import LogOptions, Writer
from trackside.kit.ids import parse_id
from trackside.rooms.telemetry.errors import LogsUnavailable
from trackside.rooms.telemetry.model import Line, LogKind, Stream

P = ParamSpec("P")
T = TypeVar("T")
SWEEPING = "sweeping"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileLogStore:
    """Logs below `root`, which is made (0700) when the first line comes; `close` when done."""

    def __init__(self, root: Path, options: LogOptions | None = None) -> None:
        self._root = root
        self._writer = Writer(options or LogOptions())
        self._changes: Changes | None = None

    async def append(self, stream: Stream, lines: Sequence[Line]) -> None:
        """Add lines. Raises `LogsUnavailable` where the disk refuses; then none of them is stored.

        Who is cancelled in it hears of that when they are written: a thread goes on, and whoever has the next turn would look for the
        last line before it is there.
        """
        if not lines:
            return
        writing = asyncio.ensure_future(self._do(self._writer.append, self._directory(stream), lines))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise

    async def read(  # noqa: PLR0913 — the port's own shape
        self,
        stream: Stream,
        *,
        after: int = 0,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
        newest: bool = False,
    ) -> Sequence[Line]:
        query = Query(after, since, until, limit, newest)
        return await self._do(reader.read, self._directory(stream), query)

    async def follow(self, stream: Stream, *, after: int = 0) -> AsyncGenerator[Line]:
        directory = self._directory(stream)
        tail = Tail(directory, after)
        while True:
            with self._changed().of(directory) as change:
                is_watched = directory.exists()
                while is_watched == directory.exists():
                    lines = await self._do(tail.more)
                    for line in lines:
                        yield line
                    if not lines:
                        await change.wait()

    async def last_at(self, stream: Stream, replica_id: UUID) -> datetime | None:
        return await self._do(reader.last_of, self._directory(stream), replica_id)

    async def streams(self, workspace_id: UUID) -> Sequence[Stream]:
        return await self._do(self._streams, workspace_id)

    async def drop(self, stream: Stream) -> None:
        await self._do(self._writer.drop, self._directory(stream))

    async def sweep(self, now: datetime, *, is_trial: bool = False) -> int:
        """Drop and pack; 0 where another process is at it."""
        return await self._do(self._over if is_trial else self._sweep, now)

    async def close(self) -> None:
        if self._changes:
            self._changes.close()
            self._changes = None

    async def _do(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Touch the files in a thread. Raises `LogsUnavailable` where the disk refuses."""
        try:
            return await asyncio.to_thread(act, *args, **kwargs)
        except OSError as error:
            raise LogsUnavailable(f"The log below {self._root} can't be used: {error.strerror}.") from error

    def _streams(self, workspace_id: UUID) -> list[Stream]:
        """Whatever directory there is: what is left of a stream that was being dropped, too."""
        return [
            Stream(workspace_id, kind, owner)
            for kind in LogKind
            for directory in (self._root / str(workspace_id) / kind.value).glob("*/")
            if (owner := parse_id(directory.name))
        ]

    def _directory(self, stream: Stream) -> Path:
        return self._root / str(stream.workspace_id) / stream.kind.value / str(stream.owner)

    def _changed(self) -> Changes:
        self._changes = self._changes or Changes()
        return self._changes

    def _over(self, now: datetime) -> int:
        return sum(thing.size_bytes for thing in self._writer.over(self._everywhere(), now))

    def _everywhere(self) -> list[Path]:
        """The directories of all streams."""
        return list(self._root.glob("*/*/*/"))

    def _pack(self) -> None:
        """Where the disk has no room for it, a later sweep does it."""
        try:
            for directory in self._everywhere():
                self._writer.pack(directory)
        except OSError as error:
            if error.errno not in FULL:
                raise

    def _sweep(self, now: datetime) -> int:
        if not self._root.exists():
            return 0
        descriptor = os.open(self._root / SWEEPING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            freed = sum(self._writer.sweep(directory, now) for directory in self._everywhere())
            freed += self._writer.drop_oldest(self._everywhere(), now)
            self._pack()
            return freed
        except BlockingIOError:
            return 0
        finally:
            os.close(descriptor)
