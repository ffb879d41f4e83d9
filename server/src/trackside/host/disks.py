"""The disks of this machine that deployments fill: how much of each is free. Joined to the port `Disks` of builds."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from trackside.host.engine import engine_info
from trackside.rooms.builds.model import DiskSpace

ENGINE_SECONDS = 3


class MachineDisks:
    """Where the installation's things lie; `build_disk` is where the builds' own disk is mounted."""

    def __init__(self, home: Path, data: Path, build_disk: Path, engine_url: str) -> None:
        self._home = home
        self._data = data
        self._build_disk = build_disk
        self._engine_url = engine_url
        self._root: Path | None = None

    async def measure(self) -> Sequence[DiskSpace]:
        """Each disk once, by what is on it. An engine that does not answer, or that is elsewhere, has none to tell of."""
        root = await self._engine_root()
        places = [("the state directory", self._home), ("the database", self._data)]
        places += [("the apps' engine", root)] if root else []
        return await asyncio.to_thread(self._measured, places)

    def _measured(self, places: list[tuple[str, Path]]) -> list[DiskSpace]:
        found: dict[int, DiskSpace] = {}
        for name, place in places:
            present = next(path for path in (place, *place.parents) if path.exists())
            found.setdefault(present.stat().st_dev, space_of(name, present))
        if os.path.ismount(self._build_disk):
            found[self._build_disk.stat().st_dev] = space_of("the build engine", self._build_disk, is_for_builds=True)
        return list(found.values())

    async def _engine_root(self) -> Path | None:
        """Where the engine keeps its things, asked for until it has answered once."""
        if self._root is None and self._engine_url.startswith("unix://"):
            info = await engine_info(self._engine_url, ENGINE_SECONDS)
            self._root = Path(str(info["DockerRootDir"])) if info else None
        return self._root if self._root and self._root.exists() else None


def space_of(name: str, place: Path, *, is_for_builds: bool = False) -> DiskSpace:
    """What is free of the disk that a directory is on, for those who may not use the part kept for root."""
    usage = shutil.disk_usage(place)
    return DiskSpace(name, str(place), usage.free, usage.total, is_for_builds)
