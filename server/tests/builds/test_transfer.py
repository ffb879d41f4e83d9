"""Why an image could not be moved: in the words of the engine that refused, whichever it was. Played engines refuse as told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from contracts.builder import Lines
from trackside.adapters.buildkit.transfer import ImageTransfer
from trackside.adapters.docker.connection import LazyEngine
from trackside.rooms.builds.errors import ImageUnavailable

IMAGE = f"sha256:{'a' * 64}"


@dataclass
class Played:
    """Two engines: one that has the image, and one that does not take it before it has all of it."""

    export_status: int = 200
    refusal: str = ""

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41"})

    async def inspect(self, _: web.Request) -> web.Response:
        return web.json_response({"Id": IMAGE, "Size": 1, "Config": {"Labels": {"ours": "yes"}}})

    async def missing(self, _: web.Request) -> web.Response:
        return web.json_response({"message": "no such image"}, status=404)

    async def export(self, _: web.Request) -> web.Response:
        if self.export_status != 200:
            return web.json_response({"message": "no space left on device"}, status=self.export_status)
        return web.Response(body=b"an image")

    async def load(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"errorDetail": {"message": self.refusal}, "error": self.refusal})


@pytest.fixture
def played() -> Played:
    return Played()


@pytest.fixture
async def transfer(played: Played) -> AsyncIterator[ImageTransfer]:
    source, target = web.Application(), web.Application()
    for app in (source, target):
        app.router.add_get("/{path:.*version}", played.version)
    source.router.add_get("/{path:.*}/get", played.export)
    source.router.add_get("/{path:.*}/json", played.inspect)
    target.router.add_get("/{path:.*}/json", played.missing)
    target.router.add_post("/{path:.*}/load", played.load)
    async with TestServer(source) as giving, TestServer(target) as taking:
        engines = [LazyEngine(f"tcp://127.0.0.1:{server.port}") for server in (giving, taking)]
        yield ImageTransfer(*engines)
        for engine in engines:
            await engine.close()


async def test_a_build_engine_that_can_not_give_the_image_says_why(transfer: ImageTransfer, played: Played) -> None:
    """As when its disk is too full to lay the image out: waiting would mend nothing."""
    played.export_status = 500
    with pytest.raises(ImageUnavailable, match="no space left on device") as refused:
        await transfer.publish(IMAGE, {"ours": "yes"}, Lines())
    assert type(refused.value) is ImageUnavailable


async def test_an_engine_for_apps_that_refuses_the_image_says_why(transfer: ImageTransfer, played: Played) -> None:
    played.refusal = "archive/tar: invalid tar header"
    with pytest.raises(ImageUnavailable, match="refused the built image: archive/tar: invalid tar header"):
        await transfer.publish(IMAGE, {"ours": "yes"}, Lines())
