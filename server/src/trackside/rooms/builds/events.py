"""Facts about sources."""

from dataclasses import dataclass
from uuid import UUID

from trackside.kit.events import Event


@dataclass(frozen=True)
class UploadReceived(Event):
    """An archive was uploaded and is kept under its id."""

    upload_id: UUID
    service_instance_id: UUID
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class UploadDropped(Event):
    """Nobody needs the archive any longer, and it is removed."""

    upload_id: UUID
    service_instance_id: UUID


@dataclass(frozen=True)
class UploadsForgotten(Event):
    """The service instance was deleted, and the archives that were uploaded for it are removed."""

    service_instance_id: UUID
