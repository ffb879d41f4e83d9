"""The adapters in memory keep the contracts of `Builder`, `Images` and `Sources`."""

from dataclasses import dataclass

import pytest

from contracts.builder import BuilderContract
from contracts.images import ImagesContract
from contracts.sources import SourcesContract
from trackside.adapters.memory.builder import MemoryBuilder
from trackside.adapters.memory.images import MemoryImages
from trackside.adapters.memory.sources import MemoryRepository, MemorySources
from trackside.rooms.builds.model import GitCredentials, ImageConfig


class TestMemoryBuilder(BuilderContract):
    @pytest.fixture
    def builder(self) -> MemoryBuilder:
        return MemoryBuilder(MemoryImages())


@dataclass
class MemoryWorld:
    images: MemoryImages

    async def in_registry(self) -> str:
        config = ImageConfig(exposed_ports=(8080,), user="1000:1000", command=("/server",))
        self.images.put_in_registry("registry.test/app:1", config)
        return "registry.test/app:1"

    async def use(self, image_id: str) -> None:
        self.images.in_use.add(image_id)

    async def stop_using(self, image_id: str) -> None:
        self.images.in_use.discard(image_id)


class TestMemoryImages(ImagesContract):
    @pytest.fixture
    def images(self) -> MemoryImages:
        return MemoryImages()

    @pytest.fixture
    def world(self, images: MemoryImages) -> MemoryWorld:
        return MemoryWorld(images)


class NamedRepository(MemoryRepository):
    url = "https://git.test/app.git"
    credentials = GitCredentials()


class TestMemorySources(SourcesContract):
    @pytest.fixture
    def repository(self) -> NamedRepository:
        return NamedRepository()

    @pytest.fixture
    def sources(self, repository: NamedRepository) -> MemorySources:
        sources = MemorySources()
        sources.repositories[repository.url] = repository
        return sources
