"""A platform that can be halted at every failpoint, and a world of services on it that serve under load."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import running_platform
from survival.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One platform for all tests that kill."""
    folder: Path = tmp_path_factory.mktemp("failpoints")
    with running_platform(TRACKSIDE_FAILPOINTS=str(folder), TRACKSIDE_ALLOW_ENGINE_IMAGES="true") as platform:
        yield World(platform, folder)
