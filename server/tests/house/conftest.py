"""Somebody signed in at the REST door, for the tests that walk over every route."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Platform, another_workspace
from rest.client import Rest, signed_in, token_of


@pytest.fixture
async def rest(platform: Platform, tmp_path: Path) -> AsyncIterator[Rest]:
    """The owner of the workspace `default`."""
    async with signed_in(platform, tmp_path) as found:
        yield found


@pytest.fixture
async def stranger(rest: Rest) -> Rest:
    """The owner of another workspace, at the same door."""
    workspace_id = await another_workspace(rest.platform, "strangers")
    return replace(rest, token=await token_of(rest.platform, workspace_id), workspace_id=workspace_id)
