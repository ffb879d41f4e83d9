"""What makes base images has an end, whatever hangs: no engine is needed to see that."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from builds.git_servers import processes_with
from trackside.adapters.buildkit.base_images import BaseImageStore
from trackside.adapters.buildkit.options import BaseImages, BuildKitOptions, CompanyNetwork
from trackside.adapters.docker.connection import LazyEngine
from trackside.rooms.builds.errors import BuildFailed, EngineAway
from trackside.rooms.builds.model import Limit

MakeStore = Callable[..., BaseImageStore]


async def quiet(line: str) -> None:
    """A log nobody reads."""


@dataclass
class FakeEngine:
    """An engine that has no image at all; whoever hands it one waits for ever, sees it die, or is refused with these words."""

    is_dying: bool = False
    refusal: str = ""
    url: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41"})

    async def missing(self, _: web.Request) -> web.Response:
        return web.json_response({"message": "no such image"}, status=404)

    async def take(self, request: web.Request) -> web.Response:
        if self.is_dying and request.transport:
            request.transport.abort()
        if self.refusal:
            await request.read()
            return web.json_response({"errorDetail": {"message": self.refusal}, "error": self.refusal})
        await self.over.wait()
        return web.Response()


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    engine = FakeEngine()
    app = web.Application()
    app.router.add_get("/{path:.*version}", engine.version)
    app.router.add_get("/{path:.*}", engine.missing)
    app.router.add_post("/{path:.*}", engine.take)
    async with TestServer(app) as server:
        engine.url = f"tcp://127.0.0.1:{server.port}"
        yield engine
        engine.over.set()


@pytest.fixture
async def store(tmp_path: Path, engine: FakeEngine) -> AsyncIterator[MakeStore]:
    """Makes a store; builds may take a second."""
    client = LazyEngine(engine.url)

    def make(apt_mirror: str = "") -> BaseImageStore:
        options = BuildKitOptions(
            directory=tmp_path / "state",
            build_engine_url=engine.url,
            engine_url=engine.url,
            seconds=1,
            base_images=BaseImages.BOOTSTRAP,
            network=CompanyNetwork(apt_mirror=apt_mirror),
        )
        return BaseImageStore(options, client)

    yield make
    await client.close()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The archive of an image that was made before."""
    archive = tmp_path / "state" / "base-images" / f"debian-bookworm-{os.uname().machine}.tar"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"an image")
    return archive


async def stopped(store: BaseImageStore) -> BuildFailed:
    """How an image that can't be had in time is told."""
    async with asyncio.timeout(60):
        with pytest.raises(BuildFailed, match="longer than the 1 s that a build may take") as caught:
            await store.ensure("debian:bookworm", quiet)
    return caught.value


async def test_a_mirror_of_packages_that_hangs_is_given_up(store: MakeStore) -> None:
    """It takes eleven seconds: mmdebstrap, told to end, waits for its helper, until all of them are killed."""

    namespaces: set[str] = set()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        namespaces.update(os.readlink(f"/proc/{pid}/ns/mnt") for pid in processes_with(f"127.0.0.1:{port}/debian"))
        with suppress(asyncio.CancelledError, ConnectionError):
            await reader.read()
        writer.close()

    mirror = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = mirror.sockets[0].getsockname()[1]
    found = await stopped(store(apt_mirror=f"http://127.0.0.1:{port}/debian"))
    mirror.close()
    await mirror.wait_closed()
    assert found.sentence.startswith("Making the base image Debian bookworm from packages was stopped")
    assert (found.limit, "apt_mirror" in found.hint) == (Limit.TIME, True)
    assert not processes_with(f"127.0.0.1:{port}/debian")
    assert namespaces
    assert os.readlink("/proc/self/ns/mnt") not in namespaces, "what it mounts would stay when it is killed"


async def test_an_engine_that_dies_as_it_takes_an_image_is_away_and_the_image_is_kept(
    store: MakeStore, kept: Path, engine: FakeEngine
) -> None:
    engine.is_dying = True
    with pytest.raises(EngineAway):
        await store().ensure("debian:bookworm", quiet)
    assert kept.exists()


@pytest.mark.parametrize(
    ("refusal", "is_kept"), [("archive/tar: invalid tar header", False), ("write /x: no space left on device", True)]
)
async def test_an_archive_that_the_engine_refuses_is_made_anew_unless_it_only_lacked_the_room(
    store: MakeStore, kept: Path, engine: FakeEngine, refusal: str, is_kept: bool
) -> None:
    engine.refusal = refusal
    with pytest.raises(BuildFailed, match=re.escape(refusal)):
        await store().ensure("debian:bookworm", quiet)
    assert kept.exists() is is_kept


async def test_an_engine_that_does_not_take_an_image_is_given_up_and_the_image_is_kept(
    store: MakeStore, kept: Path
) -> None:
    found = await stopped(store())
    assert found.sentence.startswith("Loading the base image into the build engine was stopped")
    assert kept.exists()
