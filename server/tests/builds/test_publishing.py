"""A built image is there for its deployment, whatever happens to the others that are made of the same content."""

import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiodocker import Docker

from contracts.builder import START, Lines
from contracts.workloads import App, a_workload
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.buildkit.options import BuildKitOptions
from trackside.adapters.docker.images import DockerImages
from trackside.adapters.docker.runtime import DockerRuntime
from trackside.adapters.memory.sources import MemorySources
from trackside.adapters.objects.folder import UploadFolder
from trackside.rooms.builds.errors import ImageGone
from trackside.rooms.builds.model import BuildOrder, BuildSettings, Image
from trackside.rooms.builds.plan import PlannedBuild
from trackside.rooms.builds.ports import BuildLog
from trackside.rooms.builds.service import PUBLISH_TRIES, Builds, Wanted, Workshop
from trackside.rooms.deployments.errors import RuntimeRefused

pytestmark = pytest.mark.timeout(300)


class Contended:
    """The real builder; after each publishing, and before anything else, another service gives up the same image.

    Every second time it is so quick that the builder itself notices.
    """

    def __init__(self, builder: BuildKitBuilder, images: DockerImages, times: int) -> None:
        self._builder = builder
        self._images = images
        self.times = times

    async def build(self, order: BuildOrder, log: BuildLog) -> str:
        return await self._builder.build(order, log)

    async def cancel(self, build_id: UUID) -> None:
        await self._builder.cancel(build_id)

    async def publish(self, image_id: str, labels: Mapping[str, str], log: BuildLog) -> Image:
        image = await self._builder.publish(image_id, labels, log)
        if self.times:
            self.times -= 1
            await self._images.keep(image.id, "other/service")
            await self._images.release(["other/service"])
            if self.times % 2:
                raise ImageGone("The image was taken away.")
        return image


@pytest.fixture
async def images(options: BuildKitOptions) -> AsyncIterator[DockerImages]:
    images = DockerImages(options.engine_url, uuid4().hex[:8])
    yield images
    await images.close()


@pytest.fixture
def wanted() -> Wanted:
    return Wanted(uuid4(), UUID(int=1), uuid4(), BuildSettings(), {})


def planned(dockerfile: str) -> PlannedBuild:
    return PlannedBuild(dockerfile, is_planned=False, port_expected=True, pre_deploy_command=None)


@pytest.fixture
def contended(
    docker_builder: BuildKitBuilder, images: DockerImages, tmp_path: Path
) -> Callable[[int], tuple[Builds, Contended]]:
    """Builds whose images are taken away so often."""

    def make(times: int) -> tuple[Builds, Contended]:
        builder = Contended(docker_builder, images, times)
        return Builds(MemorySources(), builder, images, UploadFolder(tmp_path, 1), Workshop(tmp_path, {})), builder

    return make


async def test_an_image_that_another_service_gives_up_meanwhile_is_published_again(
    images: DockerImages,
    order: Callable[..., BuildOrder],
    wanted: Wanted,
    contended: Callable[[int], tuple[Builds, Contended]],
) -> None:
    dockerfile = f"{START}RUN echo {uuid4()}\n"
    rooms, builder = contended(PUBLISH_TRIES - 1)
    image_id = await builder.build(order(dockerfile), Lines())
    built = await rooms.publish(wanted, image_id, planned(dockerfile), Lines())
    assert builder.times == 0
    assert built.image.id == image_id
    assert await images.inspect(image_id) is not None
    assert await rooms.held(wanted.service_instance_id) == {wanted.build_id: image_id}
    await rooms.give_up(wanted.service_instance_id, [wanted.build_id])
    assert await images.inspect(image_id) is None


async def test_an_image_that_is_taken_away_for_ever_is_said_to_be_gone(
    order: Callable[..., BuildOrder], wanted: Wanted, contended: Callable[[int], tuple[Builds, Contended]]
) -> None:
    dockerfile = f"{START}RUN echo {uuid4()}\n"
    rooms, builder = contended(PUBLISH_TRIES)
    image_id = await builder.build(order(dockerfile), Lines())
    with pytest.raises(ImageGone):
        await rooms.publish(wanted, image_id, planned(dockerfile), Lines())


async def lose_a_layer(engine_url: str, image_id: str) -> None:
    """As a machine that crashed while the layer was written."""
    async with Docker(url=engine_url) as docker:
        facts = await docker.images.inspect(image_id)
        shutil.rmtree(Path(facts["GraphDriver"]["Data"]["UpperDir"]).parent)


async def test_an_image_of_which_the_engine_has_lost_a_part_is_moved_to_it_anew_before_anybody_starts_it(
    docker_builder: BuildKitBuilder, options: BuildKitOptions, order: Callable[..., BuildOrder]
) -> None:
    image_id = await docker_builder.build(order(f"{START}RUN echo {uuid4()} > /this\n"), Lines())
    await docker_builder.publish(image_id, {}, Lines())
    await lose_a_layer(options.engine_url, image_id)
    log = Lines()
    assert (await docker_builder.publish(image_id, {}, log)).id == image_id
    assert "A part of the image is missing on the engine that runs apps" in log.lines


async def test_an_image_of_which_the_engine_has_lost_a_part_is_moved_to_it_anew(
    docker_builder: BuildKitBuilder, options: BuildKitOptions, order: Callable[..., BuildOrder]
) -> None:
    dockerfile = f"{START}RUN echo {uuid4()} > /this\n"
    image_id = await docker_builder.build(order(dockerfile), Lines())
    await docker_builder.publish(image_id, {}, Lines())
    await lose_a_layer(options.engine_url, image_id)
    runtime = DockerRuntime(options.engine_url, "0a1b2c3d")
    with pytest.raises(RuntimeRefused, match="A part of the image"):
        await runtime.start(a_workload(App(image_id), IPv4Network("10.230.0.0/24")))
    await runtime.close()
    assert (await docker_builder.publish(image_id, {}, Lines())).id == image_id
    async with Docker(url=options.engine_url) as docker:
        container = await docker.containers.create({"Image": image_id, "Cmd": ["true"]})
        await container.delete(force=True)
