"""Moving a built image from the build engine to the engine that runs apps, and making room on the build engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import aiohttp
from aiodocker import DockerError

from trackside.adapters.docker.connection import LazyEngine
from trackside.adapters.docker.failures import is_away, is_damaged
from trackside.adapters.docker.images import CHUNK, MOVING, is_gone, load_image, read_image
from trackside.rooms.builds.errors import BuildFailed, EngineAway, EngineLost, ImageGone, ImageUnavailable
from trackside.rooms.builds.model import Image
from trackside.rooms.builds.ports import BuildLog

UNPACKING_SECONDS = 300.0


class ImageTransfer:
    """`source` saves, `target` loads, both by their APIs: the archive is never on disk in between."""

    def __init__(self, source: LazyEngine, target: LazyEngine) -> None:
        self._source = source
        self._target = target

    async def publish(self, image_id: str, labels: Mapping[str, str], log: BuildLog) -> Image:
        """The image on the target. Only an image that carries `labels` is moved: others are not ours."""
        try:
            facts = await self._found(image_id, log)
            if facts is None:
                await self._move(image_id, labels, log)
                facts = await _inspect(self._target, image_id)
        except (DockerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            if is_away(error):
                raise EngineAway("The built image can't be moved: an engine can't be reached.") from error
            raise ImageUnavailable(
                f"The built image could not be moved to the engine that runs apps: {str(error) or 'it did not answer in time'}."
            ) from error
        if facts is None:
            raise ImageGone("The built image was moved, and the engine that runs apps does not have it (by this id).")
        return read_image(facts)

    async def _found(self, image_id: str, log: BuildLog) -> dict[str, Any] | None:
        """What the target has of it. An image of which a part is missing is removed, or moving it anew would change nothing."""
        try:
            return await _inspect(self._target, image_id)
        except DockerError as error:
            if not is_damaged(error):
                raise
        await log("A part of the image is missing on the engine that runs apps")
        await self._target.client.images.delete(image_id, force=True)
        return None

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
        is_sent = asyncio.Event()
        loading = asyncio.ensure_future(self._load(image_id, is_sent))
        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            await self._take_back(loading, is_sent, labels)
            raise
        finally:
            loading.cancel()

    async def _load(self, image_id: str, is_sent: asyncio.Event) -> None:
        """Errors: that of the source, where it is why the target got no more: the client says of it only that a connection broke."""
        failed: list[Exception] = []
        try:
            refusal = await load_image(self._target.client, self._archive(image_id, is_sent, failed))
        except (DockerError, aiohttp.ClientError, OSError) as error:
            cause = failed[0] if failed else error
            if is_away(cause):
                raise EngineLost(
                    "The build engine or the one that runs apps went away as the built image was moved."
                ) from error
            raise cause from error
        if refusal:
            raise ImageUnavailable(f"The engine that runs apps refused the built image: {refusal}.")

    async def _archive(self, image_id: str, is_sent: asyncio.Event, failed: list[Exception]) -> AsyncIterator[bytes]:
        exporting = self._source.client.images.export_image(image_id, timeout=MOVING)
        try:
            async with cast("AbstractAsyncContextManager[aiohttp.StreamReader]", exporting) as archive:
                while chunk := await archive.read(CHUNK):
                    yield chunk
        except Exception as error:  # whatever it is: the client that sends would hide it
            failed.append(error)
            raise
        is_sent.set()

    async def _take_back(
        self, loading: asyncio.Future[None], is_sent: asyncio.Event, labels: Mapping[str, str]
    ) -> None:
        """Leave nothing on the target. What it has in part it drops; what it has as a whole it unpacks, whoever goes away.

        Then the image has no name. Others of ours that have none yet go too; their publishing notices that, and begins anew.
        """
        if not is_sent.is_set():
            loading.cancel()
        await asyncio.wait({loading}, timeout=UNPACKING_SECONDS)
        if not labels:
            return  # nothing would tell ours from somebody else's
        nameless = {"dangling": ["true"], "label": [f"{name}={value}" for name, value in labels.items()]}
        await self._prune(self._target, "images/prune", {"filters": json.dumps(nameless)})

    async def free_space(self, *, with_images: bool) -> None:
        """After a full disk: drop the build cache, and every image without a name, so that the next build has room."""
        if with_images:
            await self._prune(self._source, "images/prune", {"filters": json.dumps({"dangling": ["true"]})})
        await self._prune(self._source, "build/prune", {"all": "1"})

    async def _prune(self, engine: LazyEngine, path: str, parameters: Mapping[str, str]) -> None:
        try:
            await engine.client._query_json(path, method="POST", params=dict(parameters))  # pyright: ignore[reportPrivateUsage]
        except (DockerError, aiohttp.ClientError, TimeoutError, OSError):
            # The deployment has ended already, with a better reason than this one.
            return


async def _inspect(engine: LazyEngine, image_id: str) -> dict[str, Any] | None:
    try:
        return await engine.client.images.inspect(image_id)
    except DockerError as error:
        if is_gone(error):
            return None
        raise
