"""A builder in memory: the port `Builder`. It understands just enough of a Dockerfile to build, fail and take its time."""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from trackside.adapters.memory.images import MemoryImages
from trackside.kit.garbage import Freed
from trackside.rooms.builds.errors import BuildCancelled, BuildFailed, EngineLost
from trackside.rooms.builds.model import BuildOrder, Image, ImageConfig
from trackside.rooms.builds.ports import BuildLog

SHORTEST_SECRET = 8


class MemoryBuilder:
    """`RUN echo TEXT` logs, `RUN exit N` fails, `RUN sleep N` takes N seconds; EXPOSE, USER and CMD reach the image."""

    def __init__(self, images: MemoryImages) -> None:
        self._images = images
        self._built: dict[str, Image] = {}
        self._cancelled: dict[UUID, asyncio.Event] = {}
        self.deaths = 0
        """So many builds to come lose their engine."""

    async def build(self, order: BuildOrder, log: BuildLog) -> str:
        if self.deaths:
            self.deaths -= 1
            raise EngineLost("The build engine went away in the middle of the build.")
        cancelled = self._cancelled[order.build_id] = asyncio.Event()
        try:
            for line in order.dockerfile.splitlines():
                await self._step(line.strip(), order, log, cancelled)
        finally:
            del self._cancelled[order.build_id]
        image = Image(f"sha256:{_digest(order)}", None, _config(order.dockerfile), 1)
        self._built[image.id] = image
        return image.id

    async def cancel(self, build_id: UUID) -> None:
        if cancelled := self._cancelled.get(build_id):
            cancelled.set()

    async def collect(self, *, is_idle: bool, is_trial: bool = False) -> list[Freed]:
        """What was built and published is all that is kept here."""
        freed = [Freed("images of ended builds", len(self._built))] if self._built and is_idle else []
        if freed and not is_trial:
            self._built.clear()
        return freed

    async def make_room(self, *, is_idle: bool) -> None:
        if is_idle:
            self._built.clear()

    async def publish(self, image_id: str, labels: Mapping[str, str], log: BuildLog) -> Image:
        image = await self._images.inspect(image_id) or self._built.get(image_id)
        if image is None:
            raise BuildFailed(f"The built image {image_id[:19]} is no longer on the build engine.")
        self._images.add(image)
        return image

    async def _step(self, line: str, order: BuildOrder, log: BuildLog, cancelled: asyncio.Event) -> None:
        match line.split(maxsplit=2):
            case ["RUN", "echo", text]:
                await log(_redacted(text, order.variables))
            case ["RUN", "exit", code]:
                raise BuildFailed(f"The build step `{line}` ended with exit code {code}.")
            case ["RUN", "sleep", seconds]:
                await _wait(cancelled, float(seconds))
            case _:
                await asyncio.sleep(0)
        if cancelled.is_set():
            raise BuildCancelled("The build was cancelled.")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _redacted(text: str, variables: Mapping[str, str]) -> str:
    for value in variables.values():
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "[redacted]")
    return text


def _digest(order: BuildOrder) -> str:
    digest = hashlib.sha256(order.dockerfile.encode())
    for path in sorted(path for path in Path(order.tree).rglob("*") if path.is_file()):
        digest.update(path.relative_to(order.tree).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(json.dumps(dict(order.labels), sort_keys=True).encode())
    return digest.hexdigest()


def _config(dockerfile: str) -> ImageConfig:
    user = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    command = re.findall(r"^CMD (\[.*\])", dockerfile, re.MULTILINE)
    ports = sorted(int(port) for port in re.findall(r"^EXPOSE (\d+)", dockerfile, re.MULTILINE))
    return ImageConfig(tuple(ports), user[-1] if user else "", (), tuple(json.loads(command[-1])) if command else ())
