"""Images on a real engine, with a registry on loopback: the contract of `Images`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest
from aiodocker import DockerError

from builds.engines import TestEngine
from contracts.builder import START, Lines
from contracts.images import ImagesContract, quiet
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.docker.connection import Engine
from trackside.adapters.docker.images import DockerImages, is_gone
from trackside.rooms.builds.errors import ImageUnavailable, RegistryRefused
from trackside.rooms.builds.model import BuildOrder

pytestmark = pytest.mark.timeout(300)


@dataclass
class DockerWorld:
    engine_url: str
    reference: str
    mirrored: str
    """What the mirror `hub` of the registry has by a name without a registry."""

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
        await engine.images.tag(image_id, f"{registry}/hub/library/tool", tag="1")
        await engine.images.push(f"{registry}/hub/library/tool", tag="1")
        await engine.close()
        return DockerWorld(app_engine.url, f"{reference}:1", "tool:1")

    async def test_a_name_that_was_there_before_the_pull_stays(self, images: DockerImages, world: DockerWorld) -> None:
        engine = Engine(world.engine_url)
        await engine.images.pull(world.reference)
        image = await images.pull(world.reference, quiet, "abc/one")
        await images.release(["abc/one"])
        assert (await engine.images.inspect(world.reference))["Id"] == image.id
        await engine.images.delete(world.reference)
        await engine.close()
        assert await images.inspect(image.id) is None

    async def test_a_digest_is_asked_of_its_registry_though_the_engine_has_it_unless_that_is_allowed(
        self, images: DockerImages, world: DockerWorld
    ) -> None:
        engine = Engine(world.engine_url)
        await engine.images.pull(world.reference)
        present = await images.inspect(world.reference)
        assert present is not None
        pinned = f"{world.reference.rpartition(':')[0]}@{present.digest}"
        asked, allowed = Lines(), Lines()
        assert (await images.pull(pinned, asked, "abc/one")).id == present.id
        assert (await images.pull(pinned, allowed, "abc/two", from_engine=True)).id == present.id
        assert (bool(asked.lines), bool(allowed.lines)) == (True, False)
        await images.release(["abc/one", "abc/two"])
        await engine.images.delete(world.reference)
        await engine.close()

    async def test_an_image_that_names_no_registry_is_asked_of_the_mirror_first(
        self, app_engine: TestEngine, world: DockerWorld, registry: str
    ) -> None:
        images, lines = DockerImages(app_engine.url, uuid4().hex[:8], f"{registry}/hub"), Lines()
        image = await images.pull(world.mirrored, lines, "abc/one")
        assert registry in lines.text
        await images.release(["abc/one"])
        assert await images.inspect(image.id) is None, "the mirror's name for it is left behind"
        await images.close()

    async def test_what_the_mirror_does_not_have_is_asked_for_without_it(
        self, app_engine: TestEngine, world: DockerWorld, registry: str
    ) -> None:
        images, lines = DockerImages(app_engine.url, uuid4().hex[:8], "127.0.0.1:9/nothing-listens-here"), Lines()
        image = await images.pull(world.reference, quiet, "abc/one")
        assert image.id, "a name with a registry is not the mirror's business"
        with pytest.raises(ImageUnavailable, match="no-such-image:1`"):
            await images.pull("no-such-image:1", lines, "abc/two")
        assert "without the mirror" in lines.text
        await images.release(["abc/one"])
        await images.close()

    async def test_a_registry_that_is_none_of_those_allowed_is_not_asked(
        self, app_engine: TestEngine, world: DockerWorld, registry: str
    ) -> None:
        """Nor is the engine's own, where the mirror does not have the image."""
        images = DockerImages(app_engine.url, uuid4().hex[:8], f"{registry}/hub", {registry})
        assert await images.pull(world.mirrored, quiet, "abc/one")
        for name in ("127.0.0.1:9/app:1", "no-such-image:1"):
            lines = Lines()
            with pytest.raises(RegistryRefused, match=f"only {registry}"):
                await images.pull(name, lines, "abc/two")
            assert f"Pulling {name}" not in lines.text
        await images.release(["abc/one"])
        await images.close()

    async def test_installations_do_not_see_each_other(
        self, images: DockerImages, world: DockerWorld, app_engine: TestEngine
    ) -> None:
        image = await images.pull(await world.in_registry(), quiet, "abc/one")
        other = DockerImages(app_engine.url, uuid4().hex[:8])
        assert await other.kept() == {}
        await other.release(["abc/one"])
        assert await images.kept() == {"abc/one": image.id}
        await other.close()
        await images.release(["abc/one"])

    async def test_many_ask_at_once(self, images: DockerImages, world: DockerWorld) -> None:
        found = await asyncio.gather(*(images.pull(world.reference, quiet, f"abc/{number}") for number in range(5)))
        assert len({image.id for image in found}) == 1
        await images.release(list(await images.kept()))
        assert await images.inspect(found[0].id) is None


def test_an_image_that_the_engine_is_just_removing_is_gone() -> None:
    """As an engine once said between the removal of the image and that of its name."""
    said = "failed to get digest sha256:62: open /image/imagedb/content/sha256/62: no such file or directory"
    assert is_gone(DockerError(500, said))
    assert is_gone(DockerError(404, "No such image"))
    assert not is_gone(DockerError(500, "no space left on device"))
