"""Tables of builds, in the schema of each workspace."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import BigInteger, Column, DateTime, RowMapping, Table, Text, delete, insert, select
from sqlalchemy.dialects.postgresql import UUID as Uuid

from trackside.kit.db import Transaction, tenant_metadata
from trackside.kit.events import Projection, Recorded
from trackside.rooms.builds import events
from trackside.rooms.builds.model import Upload

uploads = Table(
    "uploads",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("service_instance_id", Uuid(as_uuid=True), nullable=False, index=True),
    Column("sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
READ_MODELS = (uploads,)


async def _upload_received(tx: Transaction, recorded: Recorded) -> None:
    event: events.UploadReceived = recorded.event
    await tx.connection.execute(
        insert(uploads).values(
            id=event.upload_id,
            service_instance_id=event.service_instance_id,
            sha256=event.sha256,
            size_bytes=event.size_bytes,
            created_at=recorded.at,
        )
    )


async def _upload_dropped(tx: Transaction, recorded: Recorded) -> None:
    event: events.UploadDropped = recorded.event
    await tx.connection.execute(delete(uploads).where(uploads.c.id == event.upload_id))


async def _uploads_forgotten(tx: Transaction, recorded: Recorded) -> None:
    event: events.UploadsForgotten = recorded.event
    await tx.connection.execute(delete(uploads).where(uploads.c.service_instance_id == event.service_instance_id))


PROJECTIONS: dict[type, Projection] = {
    events.UploadReceived: _upload_received,
    events.UploadDropped: _upload_dropped,
    events.UploadsForgotten: _uploads_forgotten,
}


async def upload(tx: Transaction, upload_id: UUID) -> Upload | None:
    row = (await tx.connection.execute(select(uploads).where(uploads.c.id == upload_id))).mappings().first()
    return _upload(row) if row else None


async def all_uploads(tx: Transaction) -> list[Upload]:
    """Those of the bound workspace, the oldest first."""
    rows = await tx.connection.execute(select(uploads).order_by(uploads.c.created_at, uploads.c.id))
    return [_upload(row) for row in rows.mappings()]


def _upload(row: RowMapping) -> Upload:
    return Upload(row["id"], row["service_instance_id"], row["sha256"], row["size_bytes"], row["created_at"])


async def recorded(tx: Transaction, upload_ids: Collection[UUID]) -> set[UUID]:
    """Which of these uploads are on record in the bound workspace."""
    query = select(uploads.c.id).where(uploads.c.id.in_(upload_ids))
    return set((await tx.connection.execute(query)).scalars())


async def uploads_of(tx: Transaction, instance_ids: Sequence[UUID]) -> list[UUID]:
    query = select(uploads.c.id).where(uploads.c.service_instance_id.in_(instance_ids)).order_by(uploads.c.id)
    return list((await tx.connection.execute(query)).scalars())
