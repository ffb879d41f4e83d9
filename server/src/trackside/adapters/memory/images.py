"""Images in memory: the port `Images`, for tests and for a platform without an engine."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trackside.rooms.builds.errors import ImageUnavailable
from trackside.rooms.builds.model import Image, ImageConfig
from trackside.rooms.builds.ports import BuildLog


class MemoryImages:
    """`registry` is what can be pulled, by reference; `in_use` holds the content ids that containers use."""

    def __init__(self) -> None:
        self.registry: dict[str, Image] = {}
        self.in_use: set[str] = set()
        self._images: dict[str, Image] = {}
        self._names: dict[str, str] = {}

    def put_in_registry(self, reference: str, config: ImageConfig | None = None) -> Image:
        """Make an image that can be pulled."""
        digest = hashlib.sha256(reference.encode()).hexdigest()
        image = Image(f"sha256:{digest}", f"sha256:{digest[::-1]}", config or ImageConfig(), 1)
        self.registry[reference] = image
        return image

    def add(self, image: Image) -> None:
        """Have an image, as a build does that publishes it."""
        self._images[image.id] = image

    async def pull(self, reference: str, log: BuildLog) -> Image:
        if reference in self._images:
            return self._images[reference]
        if reference not in self.registry:
            raise ImageUnavailable(f"The image `{reference}` can't be pulled: there is no such image.")
        await log(f"Pulling {reference}")
        image = self.registry[reference]
        self._images[image.id] = image
        return replace(image)

    async def inspect(self, image_id: str) -> Image | None:
        return self._images.get(image_id)

    async def keep(self, image_id: str, name: str) -> None:
        if image_id not in self._images:
            raise ImageUnavailable(f"The image `{image_id}` is not on the engine.")
        self._names[name] = image_id

    async def kept(self) -> Mapping[str, str]:
        return dict(self._names)

    async def release(self, names: Sequence[str]) -> None:
        given_up = {self._names.pop(name) for name in names if name in self._names}
        for image_id in given_up - set(self._names.values()) - self.in_use:
            self._images.pop(image_id, None)
