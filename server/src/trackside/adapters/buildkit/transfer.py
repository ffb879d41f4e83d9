"""Moving a built image from the build engine to the engine that runs apps, and making room on the build engine."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import aiohttp
from aiodocker import DockerError

from trackside.adapters.docker.connection import LazyEngine
from trackside.adapters.docker.images import read_image
from trackside.rooms.builds.errors import BuildFailed, ImageUnavailable
from trackside.rooms.builds.model import Image
from trackside.rooms.builds.ports import BuildLog

_CHUNK = 1 << 20


class ImageTransfer:
    """`source` saves, `target` loads, both by their APIs: the archive is never on disk in between."""

    def __init__(self, source: LazyEngine, target: LazyEngine) -> None:
        self._source = source
        self._target = target

    async def publish(self, image_id: str, labels: Mapping[str, str], log: BuildLog) -> Image:
        """The image on the target. Only an image that carries `labels` is moved: others are not ours."""
        try:
            facts = await _inspect(self._target, image_id)
            if facts is None:
                await self._move(image_id, labels, log)
                facts = await _inspect(self._target, image_id)
        except (DockerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ImageUnavailable(
                f"The built image could not be moved to the engine that runs apps: {error}."
            ) from error
        if facts is None:
            raise ImageUnavailable(
                "The built image could not be moved: the engine that runs apps has it under another id."
            )
        return read_image(facts)

    async def _move(self, image_id: str, labels: Mapping[str, str], log: BuildLog) -> None:
        facts = await _inspect(self._source, image_id)
        if facts is None:
            raise BuildFailed(
                f"The built image {image_id[:19]} is no longer on the build engine.",
                hint="Deploy again: most of the build is cached.",
            )
        carried = cast("dict[str, str]", (facts.get("Config") or {}).get("Labels") or {})
        if any(carried.get(name) != value for name, value in labels.items()):
            raise BuildFailed(f"The image {image_id[:19]} was not made by this build.")
        await log(f"Publishing the image ({int(facts.get('Size') or 0) / 1e6:.0f} MB)")
        loading = cast(
            "AsyncIterator[dict[str, Any]]",
            self._target.client.images.import_image(self._archive(image_id), stream=True),
        )
        async for step in loading:
            if "error" in step:
                raise ImageUnavailable(f"The engine that runs apps refused the built image: {step['error']}.")

    async def _archive(self, image_id: str) -> AsyncIterator[bytes]:
        exporting = self._source.client.images.export_image(image_id)
        async with cast("AbstractAsyncContextManager[aiohttp.StreamReader]", exporting) as archive:
            while chunk := await archive.read(_CHUNK):
                yield chunk

    async def free_space(self) -> None:
        """After a full disk: drop the build cache and every image without a name, so that the next build has room."""
        filters = json.dumps({"dangling": ["true"]})
        try:
            await self._source.client._query_json("images/prune", method="POST", params={"filters": filters})  # pyright: ignore[reportPrivateUsage]
            await self._source.client._query_json("build/prune", method="POST", params={"all": "1"})  # pyright: ignore[reportPrivateUsage]
        except (DockerError, aiohttp.ClientError, TimeoutError, OSError):
            # The build has failed already, with a better reason than this one.
            return


async def _inspect(engine: LazyEngine, image_id: str) -> dict[str, Any] | None:
    try:
        return await engine.client.images.inspect(image_id)
    except DockerError as error:
        if error.status == 404:
            return None
        raise
