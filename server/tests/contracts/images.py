"""What every `Images` does. A subclass gives the fixtures `images` and `world`."""

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from trackside.rooms.builds.errors import ImageGone, ImageUnavailable
from trackside.rooms.builds.model import Image
from trackside.rooms.builds.ports import Images


class ImagesWorld(Protocol):
    """The registry and the engine behind the images."""

    async def in_registry(self) -> str:
        """A reference that can be pulled: an image that exposes 8080, runs as 1000:1000 and starts `/server`."""
        ...

    async def use(self, image_id: str) -> None:
        """Have a container of the image."""
        ...

    async def stop_using(self, image_id: str) -> None: ...


async def quiet(line: str) -> None:
    """A log that nobody reads."""


class ImagesContract:
    @pytest.fixture
    async def pulled(self, images: Images, world: ImagesWorld) -> AsyncIterator[Image]:
        """Held as `abc/one`."""
        yield await images.pull(await world.in_registry(), quiet, "abc/one")
        await images.release(list(await images.kept()))

    async def test_a_pulled_image_says_what_it_is(self, images: Images, pulled: Image) -> None:
        assert pulled.id.startswith("sha256:")
        assert pulled.digest is not None
        assert pulled.digest.startswith("sha256:")
        assert pulled.config.exposed_ports == (8080,)
        assert pulled.config.user == "1000:1000"
        assert pulled.config.command == ("/server",)
        found = await images.inspect(pulled.id)
        assert found is not None
        assert found.id == pulled.id

    async def test_what_is_on_the_engine_is_had_by_its_content_id_where_that_is_allowed(
        self, images: Images, pulled: Image
    ) -> None:
        assert (await images.pull(pulled.id, quiet, "abc/two", from_engine=True)).id == pulled.id
        assert await images.kept() == {"abc/one": pulled.id, "abc/two": pulled.id}

    async def test_what_is_on_the_engine_is_not_had_by_its_content_id_otherwise(
        self, images: Images, pulled: Image
    ) -> None:
        with pytest.raises(ImageUnavailable):
            await images.pull(pulled.id, quiet, "abc/two")
        assert await images.kept() == {"abc/one": pulled.id}

    async def test_pulling_says_what_it_does(self, images: Images, world: ImagesWorld) -> None:
        lines: list[str] = []

        async def log(line: str) -> None:
            lines.append(line)

        await images.pull(await world.in_registry(), log, "abc/one")
        await images.release(["abc/one"])
        assert lines

    @pytest.mark.parametrize("reference", ["no-such-host.invalid/app:1", "sha256:" + "0" * 64, "bad name", "", "-x"])
    async def test_an_image_that_can_not_be_had_is_explained(self, images: Images, reference: str) -> None:
        with pytest.raises(ImageUnavailable) as caught:
            await images.pull(reference, quiet, "abc/one")
        assert caught.value.sentence
        assert caught.value.hint

    async def test_an_unknown_content_id_is_none(self, images: Images) -> None:
        assert await images.inspect("sha256:" + "0" * 64) is None

    async def test_kept_names_are_listed_until_they_are_released(self, images: Images, pulled: Image) -> None:
        assert await images.kept() == {"abc/one": pulled.id}
        await images.keep(pulled.id, "abc/two")
        assert await images.kept() == {"abc/one": pulled.id, "abc/two": pulled.id}
        await images.release(["abc/one", "never/kept"])
        assert await images.kept() == {"abc/two": pulled.id}
        assert await images.inspect(pulled.id) is not None

    async def test_keeping_twice_is_keeping_once(self, images: Images, pulled: Image) -> None:
        await images.keep(pulled.id, "abc/one")
        await images.keep(pulled.id, "abc/one")
        assert await images.kept() == {"abc/one": pulled.id}

    async def test_the_last_name_takes_the_image_with_it(self, images: Images, pulled: Image) -> None:
        await images.release(["abc/one"])
        assert await images.inspect(pulled.id) is None

    async def test_an_image_that_is_not_there_can_not_be_kept(self, images: Images) -> None:
        with pytest.raises(ImageGone):
            await images.keep("sha256:" + "0" * 64, "abc/one")

    async def test_an_image_a_container_uses_outlives_its_last_name(
        self, images: Images, world: ImagesWorld, pulled: Image
    ) -> None:
        await world.use(pulled.id)
        await images.release(["abc/one"])
        assert await images.kept() == {}
        assert await images.inspect(pulled.id) is not None
        await world.stop_using(pulled.id)
        await images.release([])
        assert await images.inspect(pulled.id) is None

    async def test_an_image_with_a_name_is_never_dropped_as_unnamed(self, images: Images, pulled: Image) -> None:
        assert pulled.id not in await images.unnamed()
        await images.drop_unnamed()
        assert await images.inspect(pulled.id) is not None
