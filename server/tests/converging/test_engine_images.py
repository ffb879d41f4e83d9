"""Images by their content, prepared: the engine's are had by a workspace that had them before, or where the operator allows it."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from conftest import Platform
from converging.world import SERVES, EngineRoom, engine_room
from trackside.rooms.builds.model import Image
from trackside.rooms.deployments.model import Deployment, Status

FOREIGN = Image("sha256:" + "3c" * 32, "sha256:" + "4d" * 32)


@pytest.fixture
def has_foreign(room: EngineRoom) -> EngineRoom:
    """An engine that has an image which this workspace never had."""
    return with_foreign(room)


@pytest.fixture
async def open_room(platform: Platform, tmp_path: Path) -> AsyncIterator[EngineRoom]:
    async with engine_room(platform, tmp_path, is_engine_open=True) as room:
        yield with_foreign(room)


def with_foreign(room: EngineRoom) -> EngineRoom:
    room.images.add(FOREIGN)
    room.runtime.behave(FOREIGN.id, SERVES)
    return room


async def serve(room: EngineRoom, instance_id: UUID, reference: str) -> Deployment:
    """As far as it comes with an image that no registry has."""
    made = await room.request(instance_id, reference)
    await room.run_jobs(made)
    return await room.read(made.id)


@pytest.mark.parametrize("reference", [FOREIGN.id, f"app@{FOREIGN.digest}"])
async def test_what_another_workspace_brought_is_not_had_from_the_engine(
    has_foreign: EngineRoom, reference: str
) -> None:
    """However the source came to be configured: this is where the image is had."""
    failed = await serve(has_foreign, (await has_foreign.a_service()).id, reference)
    assert (failed.status, failed.image) == (Status.FAILED, None)
    assert failed.reason
    assert failed.hint
    assert await has_foreign.images.kept() == {}


async def test_a_pinned_name_is_had_from_its_registry(has_foreign: EngineRoom) -> None:
    reference = f"app@{FOREIGN.digest}"
    has_foreign.images.registry[reference] = FOREIGN
    served = await serve(has_foreign, (await has_foreign.a_service()).id, reference)
    assert served.status is Status.SUCCESS


async def test_what_the_workspace_had_is_had_again_from_the_engine_alone(room: EngineRoom) -> None:
    first = await room.serve((await room.a_service()).id, "app:1")
    room.images.registry.clear()
    assert first.image is not None
    other = await room.a_service(project="other")
    for reference in (first.image.image_id, f"app@{first.image.digest}"):
        again = await serve(room, other.id, reference)
        assert (again.status, again.image) == (Status.SUCCESS, first.image)


@pytest.mark.parametrize("reference", [FOREIGN.id, f"app@{FOREIGN.digest}"])
async def test_where_the_operator_allows_it_whatever_is_on_the_engine_is_had(
    open_room: EngineRoom, reference: str
) -> None:
    served = await serve(open_room, (await open_room.a_service()).id, reference)
    assert served.status is Status.SUCCESS
