"""Which images stay, and whose may be had. Pure.

Those of the last deployments that reached SUCCESS stay, and of all that have not ended. What lies on the engine may be
another workspace's: it is had without asking a registry only by a workspace that had it before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from trackside.rooms.builds.errors import SourceRefused
from trackside.rooms.builds.model import ImageSource


@dataclass(frozen=True)
class ImageUse:
    """A deployment and its image's content id; None while it is being made."""

    deployment_id: UUID
    image_id: str | None
    has_served: bool
    has_ended: bool


def kept_images(uses: Sequence[ImageUse], count: int) -> frozenset[str]:
    """The content ids that stay. `uses`: of one service instance, newest first."""
    return frozenset(use.image_id for use in _that_stay(uses, count) if use.image_id)


def _that_stay(uses: Sequence[ImageUse], count: int) -> list[ImageUse]:
    return [*[use for use in uses if use.has_served][:count], *(use for use in uses if not use.has_ended)]


def to_give_up(held: Mapping[UUID, str], uses: Sequence[ImageUse], count: int) -> frozenset[UUID]:
    """Of what is held, by the deployment it is held for, that which nobody can go back to.

    A rollback serves an image that is held for an older deployment, so the content counts; an image that was made a moment
    ago is not on record yet, so a deployment that has not ended counts too. The same content that is deployed again and again is not
    held again and again.
    """
    images = kept_images(uses, count)
    holders = {use.deployment_id for use in _that_stay(uses, count)}.intersection(held)
    held_anyway = {held[deployment_id] for deployment_id in holders}
    return frozenset(
        deployment_id
        for deployment_id, image_id in held.items()
        if deployment_id not in holders and (image_id not in images or image_id in held_anyway)
    )


def may_come_from_engine(source: ImageSource, *, is_on_record: bool, is_engine_open: bool) -> bool:
    """Whether the image may be had as the engine has it, without its registry. Errors: `SourceRefused` where there is no other way.

    `is_on_record`: a deployment of the workspace had this very content. `is_engine_open`: the operator lets anybody deploy
    what is there. The answer does not tell whether the image is there.
    """
    if source.digest is not None and (is_on_record or is_engine_open):
        return True
    if source.is_content_id:
        raise SourceRefused(
            "An image is deployed by its content id only where a deployment of this workspace had it before.",
            hint="Give its name in a registry (`name:tag` or `name@sha256:…`), or let the operator set `allow_engine_images`.",
        )
    return False
