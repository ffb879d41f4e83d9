"""Port `Uploads` on a folder: one file per upload, written beside its place and moved there when it is whole."""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import UUID

from trackside.kit.garbage import Freed
from trackside.rooms.builds.errors import ArchiveRefused, LowDisk, UploadGone
from trackside.rooms.builds.model import DiskSpace, LeastSpace

PARTIAL = ".partial"
LOOK_BYTES = 64 << 20
"""After so many bytes of an upload the disk is looked at again: of uploads that begin together each finds room for all."""


def space_of(root: Path) -> DiskSpace:
    """How it stands with the disk of the uploads."""
    usage = shutil.disk_usage(root)
    return DiskSpace("the uploads", str(root), usage.free, usage.total)


class UploadFolder:
    """Keeps archives under `root/<workspace>/<upload>`; none larger than `most_bytes`, and none on a disk with less than `least`."""

    def __init__(
        self,
        root: Path,
        most_bytes: int,
        least: LeastSpace | None = None,
        look: Callable[[Path], DiskSpace] = space_of,
    ) -> None:
        self._root = root
        self._most_bytes = most_bytes
        self._least = least
        self._look = look

    async def receive(self, workspace_id: UUID, upload_id: UUID, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        place = self._place(workspace_id, upload_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._refuse_low_disk()
        partial = place.with_suffix(PARTIAL)
        digest, size, looked_at = hashlib.sha256(), 0, 0
        try:
            with partial.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._most_bytes:
                        raise ArchiveRefused(f"The upload is larger than {self._most_bytes >> 20} MiB.")
                    if size - looked_at >= LOOK_BYTES:
                        self._refuse_low_disk()
                        looked_at = size
                    await asyncio.to_thread(file.write, chunk)
                    await asyncio.to_thread(digest.update, chunk)
                await asyncio.to_thread(_settle, file)
            partial.rename(place)
        finally:
            partial.unlink(missing_ok=True)
        return digest.hexdigest(), size

    def _refuse_low_disk(self) -> None:
        space = self._look(self._root)
        if self._least and self._least.is_low(space):
            raise LowDisk(self._least.sentence(space))

    async def path(self, workspace_id: UUID, upload_id: UUID) -> Path:
        place = self._place(workspace_id, upload_id)
        if not place.is_file():
            raise UploadGone("The uploaded archive is no longer kept.")
        return place

    async def drop(self, workspace_id: UUID, upload_id: UUID) -> None:
        await asyncio.to_thread(self._place(workspace_id, upload_id).unlink, missing_ok=True)

    async def kept(self, idle_seconds: float) -> Mapping[tuple[UUID, UUID], int]:
        found = await asyncio.to_thread(self._idle, "", idle_seconds)
        return {(UUID(path.parent.name), UUID(path.name)): size for path, size in found.items()}

    async def drop_broken(self, idle_seconds: float, *, is_trial: bool = False) -> Freed:
        found = await asyncio.to_thread(self._idle, PARTIAL, idle_seconds)
        for path in found if not is_trial else ():
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return Freed("uploads that broke off", len(found), sum(found.values()))

    def _idle(self, suffix: str, seconds: float) -> dict[Path, int]:
        """Files of this kind that were not written to for so long, with their sizes; whatever has no name of ours is not ours."""
        latest = time.time() - seconds
        found: dict[Path, int] = {}
        for path in self._files(suffix):
            with suppress(FileNotFoundError):  # received, or dropped, in this very moment
                seen = path.stat()
                if seen.st_mtime <= latest:
                    found[path] = seen.st_size
        return found

    def _files(self, suffix: str) -> Iterator[Path]:
        for path in sorted(self._root.glob("*/*")):
            is_ours = _is_id(path.parent.name) and _is_id(path.name.removesuffix(suffix)) and path.suffix == suffix
            if is_ours and path.is_file() and not path.is_symlink():
                yield path

    def _place(self, workspace_id: UUID, upload_id: UUID) -> Path:
        return self._root / workspace_id.hex / upload_id.hex


def _settle(file: IO[bytes]) -> None:
    """Put it on the disk: an archive on record must be whole after a power cut too."""
    file.flush()
    os.fsync(file.fileno())


def _is_id(name: str) -> bool:
    try:
        return UUID(name).hex == name
    except ValueError:
        return False
