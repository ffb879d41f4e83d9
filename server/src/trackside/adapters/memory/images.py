"""Images in memory: the port `Images`, for tests and for a platform without an engine."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trackside.rooms.builds.errors import EngineAway, ImageGone, ImageUnavailable
from trackside.rooms.builds.model import Image, ImageConfig
from trackside.rooms.builds.ports import BuildLog


class MemoryImages:
    """`registry` is what can be pulled, by reference; `in_use` holds the content ids that containers use; `is_away` plays an engine
    that is not there to be asked.
    """

    def __init__(self) -> None:
        self.registry: dict[str, Image] = {}
        self.in_use: set[str] = set()
        self.is_away = False
        self._images: dict[str, Image] = {}
        self._names: dict[str, str] = {}
        self._given_up: set[str] = set()
        self._built: set[str] = set()

    def put_in_registry(self, reference: str, config: ImageConfig | None = None) -> Image:
        """Make an image that can be pulled."""
        digest = hashlib.sha256(reference.encode()).hexdigest()
        image = Image(f"sha256:{digest}", f"sha256:{digest[::-1]}", config or ImageConfig(), 1)
        self.registry[reference] = image
        return image

    def add(self, image: Image) -> None:
        """Have an image, as a build does that publishes it."""
        self._images[image.id] = image
        self._built.add(image.id)

    async def pull(self, reference: str, log: BuildLog, name: str, *, from_engine: bool = False) -> Image:
        if self.is_away:
            raise EngineAway(f"The container engine can't be asked for the image `{reference}`.")
        image = self._on_engine(reference) if from_engine else None
        if image is None:
            await log(f"Pulling {reference}")
            image = self.registry.get(reference)
        if image is None:
            raise ImageUnavailable(f"The image `{reference}` can't be pulled: there is no such image.")
        self._images[image.id] = image
        await self.keep(image.id, name)
        return replace(image)

    def _on_engine(self, reference: str) -> Image | None:
        digest = reference.partition("@")[2]
        by_digest = (image for image in self._images.values() if digest and image.digest == digest)
        return self._images.get(reference) or next(by_digest, None)

    async def inspect(self, image_id: str) -> Image | None:
        return self._images.get(image_id)

    async def keep(self, image_id: str, name: str) -> None:
        if image_id not in self._images:
            raise ImageGone(f"The image `{image_id}` is not on the engine.")
        self._names[name] = image_id

    async def kept(self) -> Mapping[str, str]:
        return dict(self._names)

    async def release(self, names: Sequence[str]) -> None:
        """An image that a container still uses goes with the first release after that container."""
        self._given_up |= {self._names.pop(name) for name in names if name in self._names}
        self._given_up -= set(self._names.values())
        for image_id in self._given_up - self.in_use:
            self._images.pop(image_id, None)
        self._given_up &= self.in_use

    async def unnamed(self) -> Mapping[str, int]:
        unheld = self._built & self._images.keys() - set(self._names.values()) - self._given_up
        return {image_id: self._images[image_id].size_bytes for image_id in unheld}

    async def drop_unnamed(self) -> None:
        for image_id in set(await self.unnamed()) - self.in_use:
            del self._images[image_id]
