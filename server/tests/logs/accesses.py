"""Lines of the access log for tests, and what became of them."""

from datetime import UTC, datetime
from uuid import UUID

from trackside.adapters.memory.logs import MemoryLogStore
from trackside.rooms.networking.model import Access
from trackside.rooms.telemetry.model import LogKind, Stream


def an_access(instance_id: UUID, path: str) -> Access:
    now = datetime.now(UTC)
    return Access(
        now, instance_id, None, None, "r", "GET", "host", path, 200, "1", "1", "1", "1", "127.0.0.1", "", "--"
    )


async def paths(store: MemoryLogStore, workspace_id: UUID, instance_id: UUID) -> list[str]:
    """The paths that are stored as requested of a service instance, in order."""
    lines = await store.read(Stream(workspace_id, LogKind.HTTP, instance_id))
    return [line.message.split()[1] for line in lines]
