"""A workspace's schema: projects, their configuration, deployments, secrets, and the workspace's event stream."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from trackside.migrations.walls import (
    SCOPE,
    append_only,
    application,
    grant,
    row_security,
    schema,
    workspace,
)

revision = "0001"
down_revision = None

READ_MODELS = (
    "config_versions",
    "deployments",
    "environments",
    "projects",
    "replicas",
    "service_instances",
    "services",
    "uploads",
)


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("service_instance_id", sa.UUID(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("hint", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("source", postgresql.JSONB(), nullable=False),
        sa.Column("commit", postgresql.JSONB(), nullable=True),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=False),
        sa.Column("build", postgresql.JSONB(), nullable=False),
        sa.Column("variables", postgresql.JSONB(), nullable=False),
        sa.Column("image", postgresql.JSONB(), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("wanted_replicas", sa.Integer(), nullable=False),
        sa.Column("rollback_of", sa.UUID(), nullable=True),
        sa.Column("steps", postgresql.JSONB(), nullable=False),
        sa.Column("has_served", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removing_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="tenant",
    )
    op.create_index(
        op.f("ix_tenant_deployments_service_instance_id"),
        "deployments",
        ["service_instance_id"],
        unique=False,
        schema="tenant",
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", postgresql.JSONB(), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.Column("subject", sa.UUID(), nullable=True),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        schema="tenant",
    )
    op.create_index(op.f("ix_tenant_events_subject"), "events", ["subject"], unique=False, schema="tenant")
    op.create_table(
        "projects",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleting_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="tenant",
    )
    op.create_index(
        "projects_name",
        "projects",
        ["name"],
        unique=True,
        schema="tenant",
        postgresql_where=sa.text("deleting_at IS NULL"),
    )
    op.create_table(
        "secret_versions",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="tenant",
    )
    op.create_table(
        "stream_head",
        sa.Column("one", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("one"),
        schema="tenant",
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("service_instance_id", sa.UUID(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="tenant",
    )
    op.create_index(
        op.f("ix_tenant_uploads_service_instance_id"), "uploads", ["service_instance_id"], unique=False, schema="tenant"
    )
    op.create_table(
        "environments",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleting_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["tenant.projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        schema="tenant",
    )
    op.create_index(
        "environments_name",
        "environments",
        ["project_id", "name"],
        unique=True,
        schema="tenant",
        postgresql_where=sa.text("deleting_at IS NULL"),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("deployment_id", sa.UUID(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("leaving_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("terminating_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("restarted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["deployment_id"], ["tenant.deployments.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("address"),
        schema="tenant",
    )
    op.create_index(
        op.f("ix_tenant_replicas_deployment_id"), "replicas", ["deployment_id"], unique=False, schema="tenant"
    )
    op.create_table(
        "services",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleting_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["tenant.projects.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        schema="tenant",
    )
    op.create_index(
        "services_name",
        "services",
        ["project_id", "name"],
        unique=True,
        schema="tenant",
        postgresql_where=sa.text("deleting_at IS NULL"),
    )
    op.create_table(
        "config_versions",
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("config", postgresql.JSONB(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["environment_id"], ["tenant.environments.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("environment_id", "version"),
        schema="tenant",
    )
    op.create_table(
        "service_instances",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("service_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.ForeignKeyConstraint(["environment_id"], ["tenant.environments.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["service_id"], ["tenant.services.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("service_id", "environment_id"),
        schema="tenant",
    )
    op.execute(f"INSERT INTO {schema()}.stream_head VALUES (1, 0, repeat('0', 64), 'epoch')")
    op.execute(f"GRANT USAGE ON SCHEMA {schema()} TO {application()}")
    for table in (*READ_MODELS, "events", "stream_head", "secret_versions"):
        row_security(schema(), table, f"{SCOPE} = '{workspace()}'")
    for table in READ_MODELS:
        grant(schema(), table, "SELECT, INSERT, UPDATE, DELETE")
    grant(schema(), "stream_head", "SELECT, UPDATE")
    append_only(schema(), "events")
    append_only(schema(), "secret_versions")
