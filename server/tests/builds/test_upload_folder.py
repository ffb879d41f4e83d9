"""Uploads on a disk that fills."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trackside.adapters.objects.folder import LOOK_BYTES, UploadFolder
from trackside.kit.ids import new_id
from trackside.rooms.builds.errors import LowDisk
from trackside.rooms.builds.model import DiskSpace, LeastSpace

PIECE = 8 << 20
LEAST = LeastSpace(size_bytes=LOOK_BYTES, percent=100)


def a_disk(free_bytes: int):
    """Looks at a disk that has so much room for the files in the directory."""

    def look(root: Path) -> DiskSpace:
        taken = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        return DiskSpace("the uploads", str(root), free_bytes - taken, 1 << 40)

    return look


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // PIECE):
        yield bytes(PIECE)


async def test_uploads_that_come_at_once_do_not_fill_the_disk_together(tmp_path: Path) -> None:
    """There was room for each of them when it began."""
    folder = UploadFolder(tmp_path, 1 << 30, LEAST, a_disk(3 * LOOK_BYTES))
    coming = [folder.receive(new_id(), new_id(), pieces(2 * LOOK_BYTES)) for _ in range(3)]
    ended = await asyncio.gather(*coming, return_exceptions=True)
    assert any(isinstance(one, LowDisk) for one in ended)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) == sum(not isinstance(one, LowDisk) for one in ended), "what was refused left something"


async def test_an_upload_is_refused_as_soon_as_the_disk_is_low(tmp_path: Path) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += PIECE
            yield bytes(PIECE)

    folder = UploadFolder(tmp_path, 4 * LOOK_BYTES, LEAST, a_disk(2 * LOOK_BYTES))
    with pytest.raises(LowDisk, match="the uploads is low"):
        await folder.receive(new_id(), new_id(), endless())
    assert given <= 2 * LOOK_BYTES + PIECE
