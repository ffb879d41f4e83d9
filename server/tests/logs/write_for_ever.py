"""A process that writes numbered lines to a stream until it is killed: `write_for_ever.py ROOT WORKSPACE OWNER REPLICA`."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from trackside.adapters.logfiles.store import FileLogStore
from trackside.adapters.logfiles.writer import LogOptions
from trackside.rooms.telemetry.model import Line, LogKind, Stream


async def main(root: Path, workspace: UUID, owner: UUID, replica_id: UUID) -> None:
    store, stream, number = (
        FileLogStore(root, LogOptions(segment_bytes=2000)),
        Stream(workspace, LogKind.DEPLOY, owner),
        0,
    )
    start = datetime(2026, 1, 2, tzinfo=UTC)
    while True:
        numbers = range(number, number + 50)
        await store.append(stream, [Line(start + timedelta(seconds=n), str(n), replica_id=replica_id) for n in numbers])
        number += 50


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), UUID(sys.argv[2]), UUID(sys.argv[3]), UUID(sys.argv[4])))
