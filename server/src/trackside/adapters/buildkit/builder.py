"""The port `Builder`: BuildKit of the build engine, with limits, secrets and an end at any moment."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import aiohttp
from aiodocker import DockerError

from trackside.adapters.buildkit import process
from trackside.adapters.buildkit.base_images import BaseImageStore
from trackside.adapters.buildkit.collecting import BuildGarbage, prune_images
from trackside.adapters.buildkit.command import BuildFiles, PreparedBuild, build_command, build_environment, prepare
from trackside.adapters.buildkit.limits import read_memory_pressure, which_limit
from trackside.adapters.buildkit.options import BuildKitOptions
from trackside.adapters.buildkit.progress import Progress
from trackside.adapters.buildkit.redaction import Redactor
from trackside.adapters.buildkit.transfer import ImageTransfer
from trackside.adapters.docker.connection import LazyEngine, presence
from trackside.adapters.docker.images import away_as
from trackside.kit.garbage import Freed
from trackside.rooms.builds.errors import BuildCancelled, BuildFailed, EngineAway, EngineLost, ImageUnavailable
from trackside.rooms.builds.model import BuildOrder, Image, Limit
from trackside.rooms.builds.ports import BuildLog
from trackside_planner import DirectoryTree

NOTICE_SECONDS = 0.2
"""The build program and we lose our connections to an engine that dies in the same moment, and may notice in any order."""


@dataclass(eq=False)
class _Running:
    """A build under way: told to end by `cancelled`, over at `ended`."""

    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class BuildKitBuilder:
    """Builds by the `docker` program on an engine apart from the one that runs apps."""

    def __init__(self, options: BuildKitOptions) -> None:
        self._options = options
        self._build_engine = LazyEngine(options.build_engine_url)
        self._engine = LazyEngine(options.engine_url)
        self._bases = BaseImageStore(options, self._build_engine)
        self._transfer = ImageTransfer(self._build_engine, self._engine)
        self._running: dict[UUID, _Running] = {}
        self._slots = asyncio.Semaphore(options.slots)

    async def close(self) -> None:
        await self._build_engine.close()
        await self._engine.close()

    async def build(self, order: BuildOrder, log: BuildLog) -> str:
        while earlier := self._running.get(order.build_id):
            await earlier.ended.wait()
        running = self._running[order.build_id] = _Running()
        work = asyncio.ensure_future(self._build(order, log))
        cancelled = asyncio.ensure_future(running.cancelled.wait())
        try:
            await asyncio.wait({work, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise BuildCancelled("The build was cancelled.")
            return await work
        finally:
            cancelled.cancel()
            await asyncio.shield(self._finish(order.build_id, work))

    async def cancel(self, build_id: UUID) -> None:
        if running := self._running.get(build_id):
            running.cancelled.set()
            await running.ended.wait()

    async def collect(self, *, is_idle: bool, is_trial: bool = False) -> list[Freed]:
        garbage = BuildGarbage(self._build_engine, self._options.cache, self._bases.directory)
        try:
            return await garbage.collect(is_idle=is_idle, is_trial=is_trial)
        except (DockerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ImageUnavailable(f"The build engine can't be asked what it keeps: {error}.") from error

    async def make_room(self, *, is_idle: bool) -> None:
        await self._transfer.free_space(with_images=is_idle)
        if is_idle:  # else a base image may go that a build was about to begin with
            with suppress(DockerError, aiohttp.ClientError, TimeoutError, OSError):
                await prune_images(self._build_engine.client, is_all=True)

    async def publish(self, image_id: str, labels: Mapping[str, str], log: BuildLog) -> Image:
        return await self._transfer.publish(image_id, labels, log)

    async def _finish(self, build_id: UUID, work: asyncio.Future[str]) -> None:
        work.cancel()
        await asyncio.wait({work})
        self._running.pop(build_id).ended.set()

    async def _build(self, order: BuildOrder, log: BuildLog) -> str:
        redactor = Redactor(order.variables.values())

        async def redacted(line: str) -> None:
            await log(redactor.redact(line))

        ignore = await asyncio.to_thread(DirectoryTree(order.tree).text, ".dockerignore")
        prepared = prepare(order, self._options, self._key(), ignore)
        for name in prepared.not_offered:
            await log(f"The variable {name} is not offered to the build: the name has a meaning for the build program.")
        async with self._slots:
            for image in prepared.images:
                await self._bases.ensure(image, redacted)
            async with self._files(prepared) as files:
                return await self._run(order, prepared, files, redacted, redactor)

    async def _run(
        self, order: BuildOrder, prepared: PreparedBuild, files: BuildFiles, log: BuildLog, redactor: Redactor
    ) -> str:
        progress = Progress()

        async def follow(line: str) -> None:
            if (shown := progress.read(line)) is not None:
                await log(shown)

        before = read_memory_pressure(self._options.cgroup)
        command = build_command(order, prepared, self._options, files)
        try:
            async with asyncio.timeout(self._options.seconds):
                code = await self._run_watched(command, build_environment(prepared, files), follow)
        except TimeoutError as error:
            raise BuildFailed(
                f"The build was stopped: it took longer than the {self._options.seconds:g} s that a build may take.",
                limit=Limit.TIME,
                hint="Make the build shorter, or raise the setting `build_seconds`.",
            ) from error
        if code != 0:
            said = [*progress.tail, progress.error, progress.last]
            limit = which_limit(before, read_memory_pressure(self._options.cgroup), progress.exit_code, said)
            raise await self._failure(limit, redactor.redact(progress.sentence()))
        return files.image_id.read_text().strip()

    async def _run_watched(self, command: Sequence[str], environment: Mapping[str, str], log: BuildLog) -> int:
        """The exit code of a program that works on the build engine. Errors: `EngineAway`, `EngineLost`."""
        with away_as(EngineAway("The build engine can't be reached.")):
            async with presence(self._build_engine.client) as gone:
                code = await process.run(command, environment, log)
                if code != 0:
                    await asyncio.wait({gone}, timeout=NOTICE_SECONDS)
                if code != 0 and gone.done():
                    raise EngineLost("The build engine went away in the middle of the build.")
                return code

    async def _failure(self, limit: Limit | None, sentence: str) -> BuildFailed:
        size = {Limit.MEMORY: self._options.memory_bytes, Limit.DISK: self._options.disk_bytes}
        if limit is None:
            return BuildFailed(sentence)
        if limit is Limit.DISK:
            # Of several slots another may have built an image that it has not moved yet.
            await self._transfer.free_space(with_images=self._options.slots == 1)
        return BuildFailed(
            f"The build was stopped by its {limit} limit of {size[limit] / (1 << 30):.3g} GiB. {sentence}",
            limit=limit,
            hint=f"Make the build need less {limit}, or raise the setting `build_{limit}_bytes`.",
        )

    @asynccontextmanager
    async def _files(self, prepared: PreparedBuild) -> AsyncGenerator[BuildFiles]:
        """The build's private directory, gone when the block is left."""
        parent = self._options.directory / "running"
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget_dead_builders(parent)
        # Not in a thread: a cancellation in between would leave it behind.
        directory = Path(tempfile.mkdtemp(dir=parent, prefix=f"{os.getpid()}-"))
        try:
            files = BuildFiles(directory)
            files.dockerfile.write_text(prepared.dockerfile)
            if prepared.ignore is not None:
                files.ignore.write_text(prepared.ignore)
            (directory / "secrets").mkdir(mode=0o700)
            for name, content in prepared.secrets.items():
                _write_private(files.secret(name), content)
            yield files
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _key(self) -> bytes:
        """The key of variable digests, made at first use."""
        path = self._options.directory / "digest-key"
        self._options.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            partial = path.with_name(f"digest-key.{os.getpid()}")
            _write_private(partial, secrets.token_hex(32))
            partial.replace(path)
        return path.read_bytes()


def _forget_dead_builders(parent: Path) -> None:
    """Remove what builders that were killed have left: there are secrets in it."""
    for directory in parent.iterdir():
        pid = directory.name.partition("-")[0]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            shutil.rmtree(directory, ignore_errors=True)


def _write_private(path: Path, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(content)
