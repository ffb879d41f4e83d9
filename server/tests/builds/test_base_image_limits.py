"""What makes base images has an end, whatever hangs: no engine is needed to see that."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from builds.git_servers import processes_with
from trackside.adapters.buildkit.base_images import BaseImageStore
from trackside.adapters.buildkit.options import BaseImages, BuildKitOptions, CompanyNetwork
from trackside.adapters.docker.connection import LazyEngine
from trackside.rooms.builds.errors import BuildFailed
from trackside.rooms.builds.model import Limit

MakeStore = Callable[..., BaseImageStore]


async def quiet(line: str) -> None:
    """A log nobody reads."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MakeStore]:
    """Makes a store on an engine that has no image at all; builds may take a second."""

    async def missing(_: web.Request) -> web.Response:
        return web.json_response({"message": "no such image"}, status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", missing)
    async with TestServer(app) as server:
        url = f"tcp://127.0.0.1:{server.port}"
        engine = LazyEngine(url)

        def make(docker: str = "/bin/false", apt_mirror: str = "") -> BaseImageStore:
            options = BuildKitOptions(
                directory=tmp_path / "state",
                build_engine_url=url,
                engine_url=url,
                docker_program=docker,
                seconds=1,
                base_images=BaseImages.BOOTSTRAP,
                network=CompanyNetwork(apt_mirror=apt_mirror),
            )
            return BaseImageStore(options, engine)

        yield make
        await engine.close()


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


async def test_an_engine_that_does_not_take_an_image_is_given_up_and_the_image_is_kept(
    store: MakeStore, tmp_path: Path
) -> None:
    docker = tmp_path / "hangs-for-ever"
    docker.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    docker.chmod(0o755)
    archive = tmp_path / "state" / "base-images" / f"debian-bookworm-{os.uname().machine}.tar"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"an image")
    found = await stopped(store(docker=str(docker)))
    assert found.sentence.startswith("Loading the base image into the build engine was stopped")
    assert archive.exists()
