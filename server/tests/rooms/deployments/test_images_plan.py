"""Which images stay, from every mixture of deployments; and whose may be had."""

from itertools import product
from uuid import UUID

import pytest

from trackside.rooms.builds.errors import SourceRefused
from trackside.rooms.builds.model import ImageSource
from trackside.rooms.deployments.plan.images import ImageUse, kept_images, may_come_from_engine, to_give_up

COUNT = 5
DIGEST = "sha256:" + "ab" * 32


def use(number: int, image: str | None, *, served: bool = True, ended: bool = True) -> ImageUse:
    return ImageUse(UUID(int=number), image, served, ended)


def held(*uses: ImageUse) -> dict[UUID, str]:
    return {one.deployment_id: one.image_id for one in uses if one.image_id}


def numbers(found: frozenset[UUID]) -> set[int]:
    return {one.int for one in found}


def test_images_of_the_last_five_that_reached_success_stay() -> None:
    uses = [use(number, f"image {number}") for number in range(9, 0, -1)]
    assert kept_images(uses, COUNT) == {f"image {number}" for number in (9, 8, 7, 6, 5)}
    assert numbers(to_give_up(held(*uses), uses, COUNT)) == {1, 2, 3, 4}


def test_a_deployment_that_failed_takes_nobodys_place_and_its_image_goes() -> None:
    good = [use(number, f"image {number}") for number in (9, 7, 5, 3, 1)]
    bad = [use(number, f"image {number}", served=False) for number in (8, 6, 4, 2)]
    uses = sorted((*good, *bad), key=lambda one: one.deployment_id.int, reverse=True)
    assert numbers(to_give_up(held(*uses), uses, COUNT)) == {8, 6, 4, 2}


def test_what_runs_or_comes_stays_however_old_it_is() -> None:
    running = use(1, "image 1", ended=False)
    coming = use(20, "image 20", served=False, ended=False)
    uses = [coming, *(use(number, f"image {number}") for number in range(9, 1, -1)), running]
    assert numbers(to_give_up(held(*uses), uses, COUNT)) == {2, 3, 4}


def test_an_image_that_is_held_and_not_on_record_yet_stays() -> None:
    coming = use(2, None, served=False, ended=False)
    assert to_give_up({coming.deployment_id: "fresh"}, [coming], COUNT) == frozenset()


def test_the_image_of_a_rollback_stays_though_it_is_held_for_an_older_deployment() -> None:
    rollback = use(9, "image 1", ended=False)
    uses = [rollback, *(use(number, f"image {number}") for number in range(8, 0, -1))]
    assert numbers(to_give_up(held(*uses[1:]), uses, COUNT)) == {2, 3, 4}
    later = [use(number, f"image {number}") for number in range(12, 9, -1)]
    gone = [*later, use(9, "image 1"), *uses[1:]]
    assert numbers(to_give_up(held(*later, *uses[1:]), gone, COUNT)) == {2, 3, 4, 5, 6, 7}


def test_the_same_content_is_held_for_the_last_deployments_only() -> None:
    uses = [use(number, "image", ended=number < 9) for number in range(9, 0, -1)]
    assert numbers(to_give_up(held(*uses), uses, COUNT)) == {4, 3, 2, 1}


def test_what_is_held_for_deployments_that_are_forgotten_goes() -> None:
    assert numbers(to_give_up({UUID(int=1): "a", UUID(int=2): "b"}, [], COUNT)) == {1, 2}


def test_from_every_mixture_what_can_be_gone_back_to_or_runs_is_held() -> None:
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    for mixture in product(kinds, repeat=4):
        uses = [use(9 - n, f"image {n % 3}", served=served, ended=ended) for n, (served, ended) in enumerate(mixture)]
        all_held = held(*uses)
        left = {all_held[key] for key in all_held.keys() - to_give_up(all_held, uses, 2)}
        assert left == kept_images(uses, 2)
        for one in uses:
            assert one.has_ended or one.image_id in left


@pytest.mark.parametrize(
    "reference", ["app", "app:1", "host:5000/team/app:1", DIGEST[:-1], DIGEST + "0", f"app:{DIGEST[7:]}"]
)
def test_a_name_is_always_asked_of_its_registry(reference: str) -> None:
    for is_on_record, is_engine_open in product((False, True), repeat=2):
        source = ImageSource(reference)
        assert not may_come_from_engine(source, is_on_record=is_on_record, is_engine_open=is_engine_open)


@pytest.mark.parametrize(("is_on_record", "is_engine_open"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("reference", [DIGEST, f"app@{DIGEST}", f"host:5000/team/app:1@{DIGEST}"])
def test_a_content_comes_from_the_engine_where_the_workspace_had_it_or_the_operator_allows_it(
    reference: str, is_on_record: bool, is_engine_open: bool
) -> None:
    source = ImageSource(reference)
    assert source.digest == DIGEST
    assert may_come_from_engine(source, is_on_record=is_on_record, is_engine_open=is_engine_open)


def test_a_content_that_the_workspace_never_had_is_asked_of_its_registry_or_refused_where_it_names_none() -> None:
    assert not may_come_from_engine(ImageSource(f"app@{DIGEST}"), is_on_record=False, is_engine_open=False)
    with pytest.raises(SourceRefused) as caught:
        may_come_from_engine(ImageSource(DIGEST), is_on_record=False, is_engine_open=False)
    assert "allow_engine_images" in caught.value.hint
