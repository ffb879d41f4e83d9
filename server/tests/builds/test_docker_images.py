"""Images on a real engine, with a registry on loopback: the contract of `Images`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest

from builds.engines import TestEngine
from contracts.builder import START, Lines
from contracts.images import ImagesContract, quiet
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.docker.connection import Engine
from trackside.adapters.docker.images import DockerImages
from trackside.rooms.builds.model import BuildOrder

pytestmark = pytest.mark.timeout(300)


@dataclass
class DockerWorld:
    engine_url: str
    reference: str

    async def in_registry(self) -> str:
        return self.reference

    async def use(self, image_id: str) -> None:
        engine = Engine(self.engine_url)
        await engine.containers.create({"Image": image_id, "Cmd": ["/bin/true"]}, name=f"use-{image_id[7:19]}")
        await engine.close()

    async def stop_using(self, image_id: str) -> None:
        engine = Engine(self.engine_url)
        await (await engine.containers.get(f"use-{image_id[7:19]}")).delete(force=True)
        await engine.close()


class TestDockerImages(ImagesContract):
    @pytest.fixture
    async def images(self, app_engine: TestEngine) -> AsyncIterator[DockerImages]:
        images = DockerImages(app_engine.url, uuid4().hex[:8])
        yield images
        await images.close()

    @pytest.fixture
    async def world(
        self,
        app_engine: TestEngine,
        build_engine: TestEngine,
        registry: str,
        docker_builder: BuildKitBuilder,
        order: Callable[..., BuildOrder],
    ) -> DockerWorld:
        """An image is built and pushed from the build engine, so that the engine for apps does not have it."""
        dockerfile = f'{START}COPY server /server\nUSER 1000:1000\nEXPOSE 8080\nCMD ["/server"]\n'
        image_id = await docker_builder.build(order(dockerfile, {"server": "#!/bin/sh\nsleep 600\n"}), Lines())
        reference = f"{registry}/app"
        engine = Engine(build_engine.url)
        await engine.images.tag(image_id, reference, tag="1")
        await engine.images.push(reference, tag="1")
        await engine.close()
        return DockerWorld(app_engine.url, f"{reference}:1")

    async def test_the_last_name_takes_the_image_with_it(self, images: DockerImages, world: DockerWorld) -> None:
        image = await images.pull(await world.in_registry(), quiet)
        await images.keep(image.id, "abc/one")
        engine = Engine(world.engine_url)
        await engine.images.delete(world.reference)  # the name it was pulled by keeps it as well
        await engine.close()
        await images.release(["abc/one"])
        assert await images.inspect(image.id) is None

    async def test_an_image_waits_for_its_last_container(self, images: DockerImages, world: DockerWorld) -> None:
        image = await images.pull(await world.in_registry(), quiet)
        await images.keep(image.id, "abc/one")
        await world.use(image.id)
        engine = Engine(world.engine_url)
        await engine.images.delete(world.reference)
        await engine.close()
        await images.release(["abc/one"])
        assert await images.inspect(image.id) is not None
        await world.stop_using(image.id)
        await images.release([])
        assert await images.inspect(image.id) is None

    async def test_installations_do_not_see_each_other(
        self, images: DockerImages, world: DockerWorld, app_engine: TestEngine
    ) -> None:
        image = await images.pull(await world.in_registry(), quiet)
        await images.keep(image.id, "abc/one")
        other = DockerImages(app_engine.url, uuid4().hex[:8])
        assert await other.kept() == {}
        await other.release(["abc/one"])
        assert await images.kept() == {"abc/one": image.id}
        await other.close()
        await images.release(["abc/one"])

    async def test_many_ask_at_once(self, images: DockerImages, world: DockerWorld) -> None:
        found = await asyncio.gather(*(images.pull(world.reference, quiet) for _ in range(5)))
        assert len({image.id for image in found}) == 1
