"""The images of the engine that runs apps: the port `Images`."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import aiohttp
from aiodocker import Docker, DockerError

from trackside.adapters.docker.connection import LazyEngine
from trackside.rooms.builds.errors import ImageUnavailable
from trackside.rooms.builds.model import Image, ImageConfig
from trackside.rooms.builds.ports import BuildLog

PULL_SECONDS = 1800.0
_CONTENT_ID = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
_RELEASED = "released"
_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


class DockerImages:
    """Keeps images by tags `trackside/<installation>/<name>`; removes only what no tag and no container holds."""

    def __init__(self, engine_url: str, installation: str) -> None:
        self._engine = LazyEngine(engine_url)
        self._prefix = f"trackside/{installation}/"

    async def close(self) -> None:
        await self._engine.close()

    async def pull(self, reference: str, log: BuildLog) -> Image:
        if not _REFERENCE.fullmatch(reference):
            raise ImageUnavailable(f"`{reference}` is no name of an image.")
        wanted = reference.rpartition("@")[2]
        if _CONTENT_ID.fullmatch(wanted) and (image := await self.inspect(reference)):
            return image
        if _CONTENT_ID.fullmatch(reference):
            raise ImageUnavailable(
                f"The image `{reference}` is not on the engine.", hint="Give its name in a registry instead."
            )
        async with _explained(reference):
            async with asyncio.timeout(PULL_SECONDS):
                await pull_image(self._engine.client, reference, log)
        image = await self.inspect(reference)
        if image is None:
            raise ImageUnavailable(f"The image `{reference}` was pulled, and is gone again.")
        return image

    async def inspect(self, image_id: str) -> Image | None:
        async with _explained(image_id):
            try:
                return read_image(await self._engine.client.images.inspect(image_id))
            except DockerError as error:
                if error.status == 404:
                    return None
                raise

    async def keep(self, image_id: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"`{name}` can't name an image")
        repository, _, tag = name.partition(":")
        async with _explained(image_id):
            await self._engine.client.images.tag(image_id, self._prefix + repository, tag=tag or "latest")

    async def kept(self) -> Mapping[str, str]:
        async with _explained(self._prefix):
            tags = await self._tags(self._prefix)
        names = {tag.removeprefix(self._prefix).removesuffix(":latest"): image for tag, image in tags.items()}
        return {name: image for name, image in names.items() if not name.startswith(_RELEASED)}

    async def release(self, names: Sequence[str]) -> None:
        """An image that a container still uses goes with the first release after that container."""
        for name in names:
            repository, _, tag = name.partition(":")
            async with _explained(name):
                await self._release(f"{self._prefix}{repository}:{tag or 'latest'}")
        async with _explained(self._prefix):
            for waiting in await self._tags(self._prefix + _RELEASED):
                await self._untag(waiting)

    async def _release(self, name: str) -> None:
        if not await self._untag(name):
            # The engine does not untag the last name of an image in use: it waits under a name that no longer counts.
            image = await self._engine.client.images.inspect(name)
            await self._engine.client.images.tag(
                name, f"{self._prefix}{_RELEASED}", tag=image["Id"].removeprefix("sha256:")
            )
            await self._untag(name)

    async def _untag(self, name: str) -> bool:
        """Remove a name, and the image with the last one; False where a container holds it."""
        try:
            await self._engine.client.images.delete(name)
        except DockerError as error:
            if error.status == 409:
                return False
            if error.status != 404:
                raise
        return True

    async def _tags(self, prefix: str) -> dict[str, str]:
        """Every full name that starts with `prefix`, with its image's content id."""
        images = await self._engine.client.images.list()
        return {
            tag: image["Id"]
            for image in cast("list[dict[str, Any]]", images)
            for tag in cast("list[str]", image.get("RepoTags") or [])
            if tag.startswith(prefix)
        }


class _explained:
    """Turns what the engine's client raises into `ImageUnavailable`."""

    def __init__(self, subject: str) -> None:
        self._subject = subject

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case DockerError():
                raise ImageUnavailable(f"The image `{self._subject}` can't be had: {error.message}.") from error
            case aiohttp.ClientError() | TimeoutError() | OSError():
                raise ImageUnavailable(
                    f"The container engine can't be asked for the image `{self._subject}`: {str(error) or 'it did not answer in time'}.",
                    hint="Look at `trackside server status`.",
                ) from error
            case _:
                return


async def pull_image(client: Docker, reference: str, log: BuildLog) -> None:
    """Pull, with a log line when each layer changes its state. Raises `ImageUnavailable` with the engine's own words."""
    seen: dict[str, str] = {}
    try:
        async for step in client.images.pull(reference, stream=True):
            if "error" in step:
                raise ImageUnavailable(f"The image `{reference}` can't be pulled: {step['error'].strip()}.")
            layer, status = step.get("id", ""), step.get("status", "")
            if seen.get(layer) != status and status not in ("Waiting", "Verifying Checksum"):
                seen[layer] = status
                await log(f"{layer}: {status}" if layer else status)
    except DockerError as error:
        raise ImageUnavailable(f"The image `{reference}` can't be pulled: {error.message.strip()}.") from error


def split_reference(reference: str) -> tuple[str, str]:
    """Repository and tag of `host:5000/name:tag`; no tag means `latest`. Not for digests, which can't be given as names."""
    head, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, "latest"
    return head, tag


def read_image(facts: Mapping[str, Any]) -> Image:
    """An image from what the engine says of it."""
    config = cast("dict[str, Any]", facts.get("Config") or {})
    ports = sorted(
        int(number)
        for port in cast("dict[str, Any]", config.get("ExposedPorts") or {})
        if (number := port.partition("/")[0]).isdigit() and port.partition("/")[2] in ("", "tcp")
    )
    digests = cast("list[str]", facts.get("RepoDigests") or [])
    return Image(
        id=facts["Id"],
        digest=digests[0].rpartition("@")[2] if digests else None,
        config=ImageConfig(
            exposed_ports=tuple(ports),
            user=config.get("User") or "",
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            stop_signal=config.get("StopSignal"),
        ),
        size_bytes=int(facts.get("Size") or 0),
    )
