"""The images of the engine that runs apps: the port `Images`."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import aiohttp
from aiodocker import Docker, DockerError
from aiodocker.exceptions import DockerStreamError
from aiodocker.jsonstream import json_stream_stream  # pyright: ignore[reportUnknownVariableType]

from trackside.adapters.docker import failures
from trackside.adapters.docker.connection import CONNECT_SECONDS, STALL_SECONDS, LazyEngine
from trackside.adapters.docker.manifests import LABEL
from trackside.adapters.docker.references import may_ask, mirrored, registry_of, split_reference
from trackside.rooms.builds.errors import EngineAway, ImageGone, ImageUnavailable, RegistryRefused
from trackside.rooms.builds.model import Image, ImageConfig, ImageSource
from trackside.rooms.builds.ports import BuildLog

T = TypeVar("T")
PULL_SECONDS = 1800.0
INSTALLATION_LABEL = f"{LABEL}installation"
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
_RELEASED = "released"
MOVING = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS)
CHUNK = 1 << 20
"""Bytes of an archive in one go."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


class DockerImages:
    """Keeps images by tags `trackside/<installation>/<name>`; removes only what no tag and no container holds."""

    def __init__(
        self, engine_url: str, installation: str, registry_mirror: str = "", registries: Collection[str] = ()
    ) -> None:
        self._engine = LazyEngine(engine_url)
        self._mirror = registry_mirror
        self._registries = registries
        self._prefix = f"trackside/{installation}/"
        self._label = f"{INSTALLATION_LABEL}={installation}"
        self._pulling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def close(self) -> None:
        await self._engine.close()

    async def pull(self, reference: str, log: BuildLog, name: str, *, from_engine: bool = False) -> Image:
        if not _REFERENCE.fullmatch(reference):
            raise ImageUnavailable(f"`{reference}` is no name of an image.")
        source = ImageSource(reference)
        if from_engine and source.digest and (image := await self.inspect(reference)):
            await self.keep(image.id, name)
            return image
        if source.is_content_id:
            raise ImageUnavailable(
                f"The image `{reference}` is not on the engine.", hint="Give its name in a registry instead."
            )
        async with self._pulling.setdefault(reference, asyncio.Lock()):
            return await self._fetch(reference, log, name)

    async def _fetch(self, reference: str, log: BuildLog, name: str) -> Image:
        return await mirror_first(reference, self._mirror, log, lambda by: self._fetch_by(by, log, name))

    async def _fetch_by(self, reference: str, log: BuildLog, name: str) -> Image:
        """Pull, and give back the name it came by, unless it was there before: only names of ours are ever collected.

        Whoever has the engine pull by the same name meanwhile loses the name, and not the image while ours is kept: the
        engine knows that a name leads to an image, not who asked for it, and its events are forgotten after 256 of any kind.
        """
        refuse_registry(reference, self._registries)
        is_foreign = await self.inspect(reference) is not None
        async with _explained(reference), asyncio.timeout(PULL_SECONDS):
            await pull_image(self._engine.client, reference, log)
        image = await self.inspect(reference)
        if image is None:
            raise ImageUnavailable(f"The image `{reference}` was pulled, and is gone again.")
        await self.keep(image.id, name)
        if not is_foreign:
            async with _explained(reference):
                await self._untag(reference)
        return image

    async def inspect(self, image_id: str) -> Image | None:
        async with _explained(image_id):
            try:
                return read_image(await self._engine.client.images.inspect(image_id))
            except DockerError as error:
                if is_gone(error):
                    return None
                raise

    async def keep(self, image_id: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"`{name}` can't name an image")
        full_name = self._prefix + name
        repository, tag = split_reference(full_name)
        async with _explained(image_id):
            try:
                await self._engine.client.images.tag(image_id, repository, tag=tag)
            except DockerError as error:
                if is_gone(error):
                    raise ImageGone(f"The image `{image_id}` is not on the engine.") from error
                raise
            # The engine may have been about to remove the image with its last name, and then takes a new name along.
            if await self.inspect(full_name) is None:
                raise ImageGone(f"The image `{image_id}` is no longer on the engine.")

    async def kept(self) -> Mapping[str, str]:
        async with _explained(self._prefix):
            tags = await self._tags(self._prefix)
        names = {tag.removeprefix(self._prefix).removesuffix(":latest"): image for tag, image in tags.items()}
        return {name: image for name, image in names.items() if not name.startswith(_RELEASED)}

    async def release(self, names: Sequence[str]) -> None:
        """An image that a container still uses goes with the first release after that container."""
        for name in names:
            async with _explained(name):
                await self._release(self._prefix + name)
        async with _explained(self._prefix):
            for waiting in await self._tags(self._prefix + _RELEASED):
                await self._untag(waiting)

    async def unnamed(self) -> Mapping[str, int]:
        async with _explained(self._prefix):
            return await listed_images(self._engine.client, is_dangling=True, label=self._label)

    async def drop_unnamed(self) -> None:
        """By the engine's own clean-up, which looks once more whether an image has no name and no container."""
        filters = json.dumps({"dangling": ["true"], "label": [self._label]})
        async with _explained(self._prefix):
            await self._engine.client._query_json("images/prune", method="POST", params={"filters": filters})  # pyright: ignore[reportPrivateUsage]

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
            if not is_gone(error):
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


@contextmanager
def away_as(told: EngineAway) -> Generator[None]:
    """Raise this where an engine was not there, or went away; whatever else went wrong stays as it is."""
    try:
        yield
    except (DockerError, aiohttp.ClientError, ConnectionError) as error:
        if failures.is_away(error):
            raise told from error
        raise


class _explained:
    """Turns what the engine's client raises into `ImageUnavailable`, or `EngineAway` where it was not there, or went away."""

    def __init__(self, subject: str) -> None:
        self._subject = subject

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case DockerError() if failures.is_away(error):
                raise EngineAway(f"The container engine can't be asked for the image `{self._subject}`.") from error
            case DockerError():
                raise ImageUnavailable(f"The image `{self._subject}` can't be had: {error.message}.") from error
            case TimeoutError():
                raise ImageUnavailable(
                    f"The container engine can't be asked for the image `{self._subject}`: it did not answer in time.",
                    hint="Look at `trackside server status`.",
                ) from error
            case aiohttp.ClientError() | OSError():
                raise EngineAway(
                    f"The container engine can't be asked for the image `{self._subject}`: {error or type(error).__name__}."
                ) from error
            case _:
                return


def is_gone(error: DockerError) -> bool:
    """Whether the engine has no such image; while it removes one it says that the file of its facts is missing."""
    return error.status == 404 or "failed to get digest" in error.message.lower()


async def listed_images(client: Docker, *, is_dangling: bool, label: str = "") -> dict[str, int]:
    """Images without any name, or those with one (that carry the label, where given), by content id: their size in bytes."""
    filters = json.dumps({"dangling": [str(is_dangling).lower()]} | ({"label": [label]} if label else {}))
    listed = await client._query_json("images/json", method="GET", params={"filters": filters})  # pyright: ignore[reportPrivateUsage]
    return {image["Id"]: int(image["Size"]) for image in cast("list[dict[str, Any]]", listed)}


async def mirror_first(reference: str, mirror: str, log: BuildLog, pull: Callable[[str], Awaitable[T]]) -> T:
    """Pull by the mirror's name for an image, where there is a mirror and it has it, else by its own."""
    by_mirror = mirrored(reference, mirror)
    if by_mirror != reference:
        try:
            return await pull(by_mirror)
        except EngineAway:
            raise  # it says nothing of the mirror
        except ImageUnavailable as error:
            await log(f"{error.sentence} {reference} is asked for without the mirror.")
    return await pull(reference)


def refuse_registry(reference: str, registries: Collection[str]) -> None:
    """`registries`: the only ones that may be asked; none given: any may. Errors: `RegistryRefused`."""
    if not may_ask(reference, registries):
        registry = registry_of(reference)
        which = f"The registry {registry}" if registry else "The engine's default registry"
        raise RegistryRefused(f"{which} may not be asked for `{reference}`: only {', '.join(sorted(registries))}.")


async def pull_image(client: Docker, reference: str, log: BuildLog) -> None:
    """Pull, with a log line when each layer changes its state. Raises `ImageUnavailable` with the engine's own words."""
    seen: dict[str, str] = {}
    try:
        async with aclosing(_pulling(client, reference)) as steps:
            async for step in steps:
                layer, status = step.get("id", ""), step.get("status", "")
                if seen.get(layer) != status and status not in ("Waiting", "Verifying Checksum"):
                    seen[layer] = status
                    await log(f"{layer}: {status}" if layer else status)
    except DockerError as error:
        if failures.is_away(error):
            raise EngineAway(f"The container engine can't be asked for the image `{reference}`.") from error
        raise ImageUnavailable(f"The image `{reference}` can't be pulled: {error.message.strip()}.") from error


async def _pulling(client: Docker, reference: str) -> AsyncGenerator[dict[str, Any]]:
    """The steps of a pull, which ends with its reader: the client's own `pull` leaves the answer open, and the engine goes on.

    A step that tells an error is raised as `DockerError`.
    """
    named = reference.rpartition("/")[2]
    wanted = {"fromImage": reference} | ({} if ":" in named or "@" in named else {"tag": "latest"})
    async with client._query("images/create", "POST", params=wanted, timeout=None) as answer:  # pyright: ignore[reportPrivateUsage]
        try:
            async for step in cast("AsyncIterator[dict[str, Any]]", json_stream_stream(answer)):
                yield step
        finally:
            answer.close()


async def load_image(client: Docker, archive: AsyncIterator[bytes]) -> str:
    """Hand the engine an archive of an image; why it refuses it, "" where it takes it. Errors: what the client raises."""
    loading = cast("AsyncIterator[dict[str, Any]]", client.images.import_image(archive, stream=True, timeout=MOVING))
    try:
        async for _ in loading:
            pass
    except DockerStreamError as error:
        return error.message.strip().rstrip(".")
    return ""


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
