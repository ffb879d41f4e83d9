"""Tables of builds, in the schema of each workspace."""

from uuid import UUID

from sqlalchemy import BigInteger, Column, DateTime, Table, Text, insert, select
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


PROJECTIONS: dict[type, Projection] = {events.UploadReceived: _upload_received}


async def upload(tx: Transaction, upload_id: UUID) -> Upload | None:
    row = (await tx.connection.execute(select(uploads).where(uploads.c.id == upload_id))).mappings().first()
    return Upload(row["id"], row["service_instance_id"], row["sha256"], row["size_bytes"]) if row else None
