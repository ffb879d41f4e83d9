"""Tables of deployments: records and replicas in the workspace's schema, and `due`, which tells what to look at."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import UUID as Uuid

from trackside.kit.db import platform_metadata, tenant_metadata
from trackside.rooms.deployments.store import builds

deployments = Table(
    "deployments",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("service_instance_id", Uuid(as_uuid=True), nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("hint", Text),
    Column("code", Text),
    Column("trigger", Text, nullable=False),
    Column("source", JSONB, nullable=False),
    Column("commit", JSONB),
    Column("config_version", Integer, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("build", JSONB, nullable=False),
    Column("variables", JSONB, nullable=False),
    Column("image", JSONB),
    Column("port", Integer),
    Column("wanted_replicas", Integer, nullable=False),
    Column("rollback_of", Uuid(as_uuid=True)),
    Column("steps", JSONB, nullable=False),
    Column("has_served", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("removing_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("version", BigInteger, nullable=False),
)
replicas = Table(
    "replicas",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column(
        "deployment_id",
        Uuid(as_uuid=True),
        ForeignKey(deployments.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("role", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("address", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("leaving_at", DateTime(timezone=True)),
    Column("terminating_at", DateTime(timezone=True)),
    Column("restarts", Integer, nullable=False),
    Column("restarted_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
due = Table(
    "due",
    platform_metadata,
    Column("service_instance_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
)
READ_MODELS = (replicas, deployments)
SHARED_READ_MODELS = (due, *builds.READ_MODELS)
