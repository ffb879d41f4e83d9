"""Port `Uploads` on a folder: one file per upload, written beside its place and moved there when it is whole."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

from trackside.rooms.builds.errors import ArchiveRefused, SourceRefused


class UploadFolder:
    """Keeps archives under `root/<workspace>/<upload>`; none larger than `most_bytes`."""

    def __init__(self, root: Path, most_bytes: int) -> None:
        self._root = root
        self._most_bytes = most_bytes

    async def receive(self, workspace_id: UUID, upload_id: UUID, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        place = self._place(workspace_id, upload_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(".partial")
        digest, size = hashlib.sha256(), 0
        try:
            with partial.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._most_bytes:
                        raise ArchiveRefused(f"The upload is larger than {self._most_bytes >> 20} MiB.")
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
            partial.rename(place)
        finally:
            partial.unlink(missing_ok=True)
        return digest.hexdigest(), size

    async def path(self, workspace_id: UUID, upload_id: UUID) -> Path:
        place = self._place(workspace_id, upload_id)
        if not place.is_file():
            raise SourceRefused("The uploaded archive is no longer kept.", hint="Upload it again: `trackside up`.")
        return place

    def _place(self, workspace_id: UUID, upload_id: UUID) -> Path:
        return self._root / workspace_id.hex / upload_id.hex
