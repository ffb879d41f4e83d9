"""What the builder is told when it is made: plain values, read from the settings by bootstrap."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from trackside.kit.garbage import Allowance


class BaseImages(StrEnum):
    """Where base images come from."""

    REGISTRY = "registry"
    BOOTSTRAP = "bootstrap"
    AUTO = "auto"


@dataclass(frozen=True)
class CompanyNetwork:
    """Certificate authorities and mirrors that builds use and that never stay in an image; empty = not used."""

    ca_bundle: Path | None = None
    pip_index_url: str = ""
    npm_registry: str = ""
    apt_mirror: str = ""
    go_proxy: str = ""

    @property
    def is_empty(self) -> bool:
        return self == CompanyNetwork()


ALLOWED_CACHE = Allowance(timedelta(days=14), 10 << 30)


@dataclass(frozen=True)
class BuildKitOptions:
    """`directory` is private to builds (secrets of running builds, cached base images). Sizes in bytes, times in seconds.

    The memory and disk limits are set by whoever starts the build engine; here they are only named in messages.
    """

    directory: Path
    build_engine_url: str
    engine_url: str
    docker_program: str = "/usr/bin/docker"
    cgroup: str = ""
    seconds: float = 1200
    memory_bytes: int = 4 << 30
    disk_bytes: int = 20 << 30
    slots: int = 1
    base_images: BaseImages = BaseImages.AUTO
    registry_mirror: str = ""
    registries: frozenset[str] = frozenset()
    pull_seconds: float = 300
    network: CompanyNetwork = CompanyNetwork()
    cache: Allowance = ALLOWED_CACHE
