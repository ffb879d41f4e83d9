"""Keeping the build engine's disk within its allowance: cache by age and size, images and files that killed builds left.

The engine is ours alone, and BuildKit itself knows what of its cache a running build needs.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from trackside.adapters.docker.connection import Engine, LazyEngine
from trackside.adapters.docker.images import listed_images
from trackside.kit.garbage import Allowance, Freed, Thing, beyond, summed

CACHE = "build cache"
IMAGES = "images of ended builds"
BASE_IMAGES = "base images"
FILES = "files of broken-off base images"
BROKEN_OFF = ("mmdebstrap.*", "*.layer", "*.sources")
"""What is in the directory of base images while one is made; `*.tar` is what it becomes."""
LONGEST = timedelta(hours=6)
"""So long takes no base image: what is older was broken off."""


@dataclass(frozen=True)
class BuildGarbage:
    """The build engine, what it may keep of its cache, and the directory of base images."""

    engine: LazyEngine
    cache: Allowance
    base_images: Path

    async def collect(self, *, is_idle: bool, is_trial: bool) -> list[Freed]:
        """Drop, or in a trial only tell. Errors: those of the engine's client."""
        freed = await self._images(is_trial=is_trial) if is_idle else []
        freed += await (self._too_much(is_idle=is_idle) if is_trial else self._prune_cache())
        return [*freed, *self._files(datetime.now(UTC), is_trial=is_trial)]

    async def _too_much(self, *, is_idle: bool) -> list[Freed]:
        """What is shared with images of ended builds is free once these are gone."""
        usage = cast("dict[str, Any]", await self.engine.client._query_json("system/df", method="GET"))  # pyright: ignore[reportPrivateUsage]
        return summed(
            CACHE, beyond(read_cache(usage.get("BuildCache") or (), with_shared=is_idle), self.cache, datetime.now(UTC))
        )

    async def _prune_cache(self) -> list[Freed]:
        count, size = 0, 0
        for parameters in prunings(self.cache):
            pruned = cast(
                "dict[str, Any]",
                await self.engine.client._query_json("build/prune", method="POST", params=parameters),  # pyright: ignore[reportPrivateUsage]
            )
            count += len(pruned.get("CachesDeleted") or ())
            size += int(pruned.get("SpaceReclaimed") or 0)
        return [Freed(CACHE, count, size)] if count else []

    async def _images(self, *, is_trial: bool) -> list[Freed]:
        """Those that a build made, and base images where they take more than the cache may: they are had again when needed."""
        client = self.engine.client
        made, named = await listed_images(client, is_dangling=True), await listed_images(client, is_dangling=False)
        has_too_many = self.cache.size_bytes is not None and sum(named.values()) > self.cache.size_bytes
        freed = {IMAGES: made} | ({BASE_IMAGES: named} if has_too_many else {})
        if not is_trial and (made or has_too_many):
            await prune_images(client, is_all=has_too_many)
        return [Freed(kind, len(sizes), sum(sizes.values())) for kind, sizes in freed.items() if sizes]

    def _files(self, now: datetime, *, is_trial: bool) -> list[Freed]:
        present = [path for pattern in BROKEN_OFF for path in self.base_images.glob(pattern)]
        things = [
            Thing(str(path), path.stat().st_size, datetime.fromtimestamp(path.stat().st_mtime, UTC)) for path in present
        ]
        gone = beyond(things, Allowance(age=LONGEST), now)
        for thing in gone if not is_trial else ():
            remove(Path(thing.name))
        return summed(FILES, gone)


async def prune_images(client: Engine, *, is_all: bool) -> None:
    """Remove images without a name, and with `is_all` those with one too."""
    filters = {"filters": json.dumps({"dangling": ["false" if is_all else "true"]})}
    await client._query_json("images/prune", method="POST", params=filters)  # pyright: ignore[reportPrivateUsage]


def prunings(allowance: Allowance) -> list[dict[str, str]]:
    """The parameters of each call that keeps the cache within its allowance: BuildKit takes age and size together for *and*. Pure."""
    wanted: list[dict[str, str]] = []
    if allowance.age is not None:
        until = json.dumps({"until": [f"{int(allowance.age.total_seconds())}s"]})
        wanted.append({"all": "1", "filters": until})
    if allowance.size_bytes is not None:
        wanted.append({"all": "1", "keep-storage": str(allowance.size_bytes)})
    return wanted


def read_cache(records: Sequence[dict[str, Any]], *, with_shared: bool) -> list[Thing]:
    """The cache as the engine lists it, without what is in use, and unless `with_shared` what an image has in it. Pure."""
    return [
        Thing(record["ID"], int(record["Size"]), _moment(record.get("LastUsedAt") or record["CreatedAt"]))
        for record in records
        if not record.get("InUse") and (with_shared or not record.get("Shared"))
    ]


def _moment(text: str) -> datetime:
    """The engine's time in nanoseconds, cut to seconds."""
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)


def remove(path: Path) -> None:
    """A file, or a directory with all in it, unless something is mounted there."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif f" {path}/" not in Path("/proc/self/mounts").read_text():
        shutil.rmtree(path, ignore_errors=True)
