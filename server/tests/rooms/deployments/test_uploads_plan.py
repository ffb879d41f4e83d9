"""Which uploads stay: those from which something may still be built."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from trackside.rooms.builds.model import Upload
from trackside.rooms.deployments.plan.uploads import UploadUse, to_drop

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OLD, FRESH = NOW - timedelta(days=9), NOW - timedelta(minutes=59)
ONE = UUID(int=1)


def stays(*uses: UploadUse, received_at: datetime = OLD, configured: Collection[UUID] = ()) -> bool:
    return not to_drop([Upload(ONE, UUID(int=9), "", 1, received_at)], uses, configured, 3, NOW)


def used(place: int, *, served_place: int | None = None, has_ended: bool = True) -> UploadUse:
    return UploadUse(ONE, has_ended, place, served_place)


@pytest.mark.parametrize(("place", "is_kept"), [(1, True), (5, True), (6, False), (600, False)])
def test_the_sources_of_the_newest_five_deployments_stay(place: int, is_kept: bool) -> None:
    assert stays(used(place)) is is_kept


@pytest.mark.parametrize(("served_place", "is_kept"), [(1, True), (3, True), (4, False)])
def test_what_can_be_gone_back_to_can_be_built_again(served_place: int, is_kept: bool) -> None:
    assert stays(used(99, served_place=served_place)) is is_kept


def test_what_a_deployment_needs_that_has_not_ended_stays_however_old() -> None:
    assert stays(used(99, has_ended=False))


def test_the_configured_source_stays_for_the_next_deployment() -> None:
    assert stays(used(99), configured={ONE})


@pytest.mark.parametrize(("received_at", "is_kept"), [(FRESH, True), (OLD, False)])
def test_what_was_never_deployed_is_waited_for_an_hour(received_at: datetime, is_kept: bool) -> None:
    assert stays(received_at=received_at) is is_kept


def test_what_was_deployed_is_not_kept_for_being_fresh() -> None:
    """Else whoever uploads again and again fills the disk within the hour."""
    assert not stays(used(6), received_at=FRESH)


def test_one_use_is_enough_whichever_service_it_is_of() -> None:
    assert stays(used(99), used(2))
