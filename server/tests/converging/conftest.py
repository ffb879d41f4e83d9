"""An engine room per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conftest import Platform
from converging.world import EngineRoom, engine_room


@pytest.fixture
async def room(platform: Platform, tmp_path: Path) -> AsyncIterator[EngineRoom]:
    async with engine_room(platform, tmp_path) as found:
        yield found
