"""Having the images that a Dockerfile starts from: pulled where a registry is reached, else made from Debian packages."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiodocker import DockerError

from trackside.adapters.buildkit import process
from trackside.adapters.buildkit.debian import (
    DEFAULT_MIRROR,
    EPOCH,
    Bootstrap,
    bootstrap_command,
    debian_suite,
    sources_list,
)
from trackside.adapters.buildkit.image_archive import write_image_archive
from trackside.adapters.buildkit.options import BaseImages, BuildKitOptions
from trackside.adapters.docker.connection import LazyEngine
from trackside.adapters.docker.failures import NO_SPACE, is_away
from trackside.adapters.docker.images import CHUNK, away_as, load_image, mirror_first, pull_image, refuse_registry
from trackside.adapters.docker.references import split_reference
from trackside.rooms.builds.errors import BuildFailed, EngineAway, EngineLost, ImageUnavailable, RegistryRefused
from trackside.rooms.builds.model import Limit
from trackside.rooms.builds.ports import BuildLog

UNREACHED_SECONDS = 300.0
"""For how long a registry that was not reached is not asked again (it may take long to find that out)."""


class BaseImageStore:
    """The base images of the build engine. One that is there is used as it is."""

    def __init__(self, options: BuildKitOptions, engine: LazyEngine) -> None:
        self._options = options
        self._engine = engine
        self._lock = asyncio.Lock()
        self._unreached_until = 0.0

    async def ensure(self, image: str, log: BuildLog) -> None:
        """Have `image` on the build engine under that very name. Errors: `BuildFailed` with the reason and what helps, `EngineAway`."""
        with away_as(EngineAway("The build engine can't be reached.")):
            if await self._is_there(image):
                return
            async with self._lock, _file_lock(self.directory / "lock"):
                if not await self._is_there(image):
                    await self._fetch(image, log)

    @property
    def directory(self) -> Path:
        """Where archives of base images are kept, and made."""
        return self._options.directory / "base-images"

    async def _is_there(self, image: str) -> bool:
        try:
            await self._engine.client.images.inspect(image)
        except DockerError as error:
            if error.status == 404:
                return False
            if is_away(error):
                raise
            raise BuildFailed(f"The base image `{image}` can't be used: {error.message}.") from error
        return True

    async def _fetch(self, image: str, log: BuildLog) -> None:
        suite = debian_suite(image)
        mode = self._options.base_images
        if mode is BaseImages.BOOTSTRAP or (mode is BaseImages.AUTO and suite and self._is_unreached()):
            return await self._bootstrap_or_explain(image, suite, "`base_images` is set to `bootstrap`", log)
        try:
            await self._pull(image, log)
        except EngineAway:
            raise  # it says nothing of the registry
        except ImageUnavailable as error:
            if mode is BaseImages.REGISTRY or suite is None:
                hint = error.hint if isinstance(error, RegistryRefused) else _HINT
                raise BuildFailed(_not_pulled(image, error.sentence), hint=hint) from error
            await log(f"{error.sentence} Debian images are made from packages instead.")
            self._unreached_until = asyncio.get_running_loop().time() + UNREACHED_SECONDS
            await self._bootstrap_or_explain(image, suite, error.sentence, log)

    def _is_unreached(self) -> bool:
        return asyncio.get_running_loop().time() < self._unreached_until

    async def _pull(self, image: str, log: BuildLog) -> None:
        mirror = (
            "" if "@" in image else self._options.registry_mirror
        )  # what a mirror gave can't be named with a digest
        source = await mirror_first(image, mirror, log, lambda by: self._pull_by(by, log))
        if source != image:
            repository, tag = split_reference(image)
            await self._engine.client.images.tag(source, repository, tag=tag)

    async def _pull_by(self, source: str, log: BuildLog) -> str:
        refuse_registry(source, self._options.registries)
        await log(f"Pulling the base image {source}")
        try:
            async with asyncio.timeout(self._options.pull_seconds):
                await pull_image(self._engine.client, source, log)
        except TimeoutError as error:
            raise ImageUnavailable(f"Pulling `{source}` took longer than {self._options.pull_seconds:g} s.") from error
        return source

    async def _bootstrap_or_explain(self, image: str, suite: str | None, reason: str, log: BuildLog) -> None:
        if suite is None:
            raise BuildFailed(
                _not_pulled(image, f"{reason}, and only Debian images can be made from packages."), hint=_HINT
            )
        archive = self.directory / f"debian-{suite}-{os.uname().machine}.tar"
        if not archive.exists():
            await self._bootstrap(suite, archive, log)
        await self._load(archive, log)
        repository, tag = split_reference(image)
        await self._engine.client.images.tag(f"trackside/debian:{suite}", repository, tag=tag)

    async def _bootstrap(self, suite: str, archive: Path, log: BuildLog) -> None:
        if shutil.which("mmdebstrap", path=PROGRAMS) is None:
            raise BuildFailed("mmdebstrap is missing on this machine.", hint="`apt-get install mmdebstrap`")
        await log(f"Making the base image Debian {suite} from packages; once, about half a minute")
        layer, sources = archive.with_suffix(".layer"), archive.with_suffix(".sources")
        sources.write_text(sources_list(suite, DEFAULT_MIRROR))
        network = self._options.network
        command = bootstrap_command(Bootstrap(suite, layer, sources), network.apt_mirror, network.ca_bundle)
        if os.geteuid() == 0:
            command = [*OWN_MOUNTS, *command]
        environment = {"PATH": PROGRAMS, "SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8"}
        environment["TMPDIR"] = str(self.directory)
        try:
            async with self._in_time(f"Making the base image Debian {suite} from packages"):
                code = await process.run(command, environment, log)
            if code != 0:
                raise BuildFailed(
                    f"The base image Debian {suite} could not be made from packages: mmdebstrap ended with code {code}.",
                    hint="Check the machine's Debian mirror (setting `apt_mirror`) and its certificates (`ca_bundle`).",
                )
            await asyncio.to_thread(write_image_archive, layer, archive, f"trackside/debian:{suite}")
        finally:
            layer.unlink(missing_ok=True)
            sources.unlink(missing_ok=True)

    async def _load(self, archive: Path, log: BuildLog) -> None:
        with away_as(EngineLost("The build engine went away as it took the base image.")):
            async with self._in_time("Loading the base image into the build engine"):
                refusal = await load_image(self._engine.client, _chunks(archive))
        if NO_SPACE in refusal.lower():
            raise BuildFailed(
                f"The base image could not be loaded into the build engine: {refusal}.",
                limit=Limit.DISK,
                hint="Make room on the builds' disk (`bin/trackside admin collect`), or raise the setting `build_disk_bytes`.",
            )
        if refusal:
            archive.unlink(missing_ok=True)
            raise BuildFailed(
                f"The base image could not be loaded into the build engine: {refusal}.",
                hint="Deploy again: it is made anew.",
            )

    @asynccontextmanager
    async def _in_time(self, what: str) -> AsyncGenerator[None]:
        """A mirror or an engine that hangs must not hold the build slot for ever. Errors: `BuildFailed`."""
        limit = asyncio.timeout(self._options.seconds)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():  # the engine itself has been silent for too long
                raise BuildFailed(
                    f"{what} was stopped: the engine does not answer.", hint="Look at `trackside server doctor`."
                ) from error
            raise BuildFailed(
                f"{what} was stopped: it took longer than the {self._options.seconds:g} s that a build may take.",
                limit=Limit.TIME,
                hint=(
                    "Check that the machine's Debian mirror (setting `apt_mirror`) and the build engine answer "
                    "(`trackside server doctor`), or raise the setting `build_seconds`."
                ),
            ) from error


PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
OWN_MOUNTS = ("/usr/bin/unshare", "--mount", "--")
"""As root mmdebstrap mounts /proc and others below its directory, and leaves them there when it is killed. In a namespace of its own
they go with it; elsewhere it makes one by itself."""

_HINT = (
    "Start from a Debian image (`FROM debian:bookworm-slim`), or let the build engine reach the registry: "
    "see the settings `registry_mirror` and `base_images`."
)


def _not_pulled(image: str, why: str) -> str:
    return f"The base image `{image}` can't be had: {why}"


@asynccontextmanager
async def _file_lock(path: Path) -> AsyncGenerator[None]:
    """One process at a time; the lock goes with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as archive:
        while chunk := await asyncio.to_thread(archive.read, CHUNK):
            yield chunk
