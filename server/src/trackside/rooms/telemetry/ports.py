"""What telemetry asks of the world."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, runtime_checkable
from uuid import UUID

from trackside.rooms.telemetry.model import Line, Stream


@runtime_checkable
class LogStore(Protocol):
    """Keeps lines by stream, over processes and restarts. A stream has one writer at a time; readers are many."""

    async def append(self, stream: Stream, lines: Sequence[Line]) -> None:
        """Add lines, in order; they are safe from a crash of this process when this returns."""
        ...

    async def read(  # noqa: PLR0913 — each narrows the reading on its own
        self,
        stream: Stream,
        *,
        after: int = 0,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
        newest: bool = False,
    ) -> Sequence[Line]:
        """Lines with seq > after within the times, ascending: the first `limit`, or with `newest` the last `limit`."""
        ...

    def follow(self, stream: Stream, *, after: int = 0) -> AsyncGenerator[Line]:
        """Lines with seq > after, then each new one as it comes, until it is closed."""
        ...

    async def last_at(self, stream: Stream, replica_id: UUID) -> datetime | None:
        """The time of the last stored line of a replica: where collecting goes on."""
        ...

    async def streams(self, workspace_id: UUID) -> Sequence[Stream]:
        """Every stream of a workspace that has been written to and not dropped since."""
        ...

    async def drop(self, stream: Stream) -> None:
        """Forget a stream; no error where there is none."""
        ...

    async def sweep(self, now: datetime, *, is_trial: bool = False) -> int:
        """Drop whole segments beyond age or size; the number of bytes freed. In a trial only tell how many it would be."""
        ...


class Turns(Protocol):
    """Whose turn it is to store a replica's lines, over all processes: one at a time, whoever comes last takes over.

    Errors: `telemetry.errors.LogsUnavailable` where another holds a replica for long.
    """

    def take(self, replica_id: UUID) -> AbstractAsyncContextManager[str]:
        """Take over, and hold the replica meanwhile. The mark tells later whether another has taken over since."""
        ...

    def again(self, replica_id: UUID, mark: str) -> AbstractAsyncContextManager[bool]:
        """Hold the replica meanwhile; whether the mark still stands."""
        ...

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Be the installation's one collector meanwhile; waits for its turn."""
        ...

    async def keep_only(self, replica_ids: Collection[UUID]) -> None:
        """Forget all other replicas, those asked for in the last hour excepted."""
        ...
