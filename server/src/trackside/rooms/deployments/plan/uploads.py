"""Which uploads stay. Pure.

Those from which something is still to be built, or may be built again: by a redeploy, by a `deploy` of the configured source, or by
a variable that is changed after a rollback.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from trackside.rooms.builds.model import Upload
from trackside.rooms.deployments.model import KEPT_UPLOADS

UNDEPLOYED = timedelta(hours=1)
"""How long an upload waits for its first deployment."""


@dataclass(frozen=True)
class UploadUse:
    """The deployments that were made from an upload: whether all have ended, and the place of the newest of them.

    Places are counted per service instance, from 1 for its newest deployment; `served_place` among those that have served.
    """

    upload_id: UUID
    has_ended: bool
    place: int
    served_place: int | None = None


def to_drop(
    uploads: Iterable[Upload],
    uses: Collection[UploadUse],
    configured: Collection[UUID],
    kept_images: int,
    now: datetime,
) -> list[Upload]:
    """The uploads that nobody needs any longer. `configured`: those that configs name as source.

    `kept_images`: of how many deployments that served the image stays; what can be gone back to may have to be built again.
    """
    used = {use.upload_id for use in uses}
    needed = {use.upload_id for use in uses if _is_needed(use, kept_images)} | set(configured)
    return [
        upload
        for upload in uploads
        if upload.id not in needed and (upload.id in used or upload.received_at < now - UNDEPLOYED)
    ]


def _is_needed(use: UploadUse, kept_images: int) -> bool:
    is_held = use.served_place is not None and use.served_place <= kept_images
    return not use.has_ended or use.place <= KEPT_UPLOADS or is_held
