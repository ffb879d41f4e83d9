"""The log store without files: streams are lists in this process, turns are locks in it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from trackside.kit.ids import new_id
from trackside.rooms.telemetry.model import Line, Stream


@dataclass
class Kept:
    """A stream's lines, the number of its last one, and what wakes its followers."""

    lines: list[Line] = field(default_factory=list)
    seq: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryLogStore:
    """Port `LogStore`; `keep_days` and `stream_lines` are what `sweep` keeps of a stream."""

    def __init__(self, keep_days: int = 30, stream_lines: int = 1_000_000, line_bytes: int = 64 << 10) -> None:
        self._keep = timedelta(days=keep_days)
        self._most = stream_lines
        self._longest = line_bytes
        self._streams: dict[Stream, Kept] = defaultdict(Kept)

    async def append(self, stream: Stream, lines: Sequence[Line]) -> None:
        kept = self._streams[stream]
        for line in lines:
            kept.seq += 1
            kept.lines.append(replace(line, seq=kept.seq, message=self._cut(line.message)))
        kept.grown.set()
        kept.grown = asyncio.Event()

    def _cut(self, message: str) -> str:
        encoded = message.encode(errors="replace")
        if len(encoded) <= self._longest:
            return encoded.decode()
        return encoded[: self._longest].decode(errors="ignore") + f" … (cut: the line had {len(encoded)} bytes)"

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
        chosen = [
            line
            for line in self._streams[stream].lines
            if line.seq > after and (since is None or line.at >= since) and (until is None or line.at <= until)
        ]
        return chosen[max(0, len(chosen) - limit) :] if newest else chosen[:limit]

    async def follow(self, stream: Stream, *, after: int = 0) -> AsyncGenerator[Line]:
        seq = after
        while True:
            kept = self._streams[stream]
            grown = kept.grown
            fresh = [line for line in kept.lines if line.seq > seq]
            for line in fresh:
                seq = line.seq
                yield line
            if not fresh:
                await grown.wait()

    async def last_at(self, stream: Stream, replica_id: UUID) -> datetime | None:
        of_replica = (line.at for line in reversed(self._streams[stream].lines) if line.replica_id == replica_id)
        return next(of_replica, None)

    async def streams(self, workspace_id: UUID) -> Sequence[Stream]:
        return [stream for stream, kept in self._streams.items() if kept.seq and stream.workspace_id == workspace_id]

    async def drop(self, stream: Stream) -> None:
        self._streams.pop(stream, None)

    async def sweep(self, now: datetime, *, is_trial: bool = False) -> int:
        freed = 0
        for kept in self._streams.values():
            young = [line for line in kept.lines if line.at >= now - self._keep][-self._most :]
            freed += sum(len(line.message.encode()) for line in kept.lines) - sum(
                len(line.message.encode()) for line in young
            )
            kept.lines = kept.lines if is_trial else young
        return freed


class MemoryTurns:
    """Port `Turns` within this process."""

    def __init__(self) -> None:
        self._locks: dict[UUID, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._marks: dict[UUID, str] = {}
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def take(self, replica_id: UUID) -> AsyncGenerator[str]:
        async with self._locks[replica_id]:
            mark = self._marks[replica_id] = new_id().hex
            yield mark

    @asynccontextmanager
    async def again(self, replica_id: UUID, mark: str) -> AsyncGenerator[bool]:
        async with self._locks[replica_id]:
            yield self._marks.get(replica_id) == mark

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        async with self._alone:
            yield

    async def keep_only(self, replica_ids: Collection[UUID]) -> None:
        for replica_id in set(self._marks) - set(replica_ids):
            if not self._locks[replica_id].locked():
                self._marks.pop(replica_id)
                self._locks.pop(replica_id)
