"""The platform's schema: directory of workspaces, tokens, routes, what is due, and the platform's event stream."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from trackside.migrations.walls import (
    SCOPE,
    append_only,
    application,
    grant,
    row_security,
)

revision = "0001"
down_revision = None

TENANT_ROWS = (
    "backend_reports",
    "backends",
    "build_queue",
    "build_turns",
    "deletions",
    "due",
    "hosts",
    "route_reports",
    "routes",
    "subnets",
    "tokens",
)


def upgrade() -> None:
    op.create_table(
        "backend_reports",
        sa.Column("deployment_id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("health", postgresql.JSONB(), nullable=False),
        sa.Column("open_requests", sa.Integer(), nullable=False),
        sa.Column("open_by_replica", postgresql.JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("deployment_id"),
        schema="platform",
    )
    op.create_table(
        "backends",
        sa.Column("deployment_id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("service_instance_id", sa.UUID(), nullable=False),
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("service_name", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("servers", postgresql.JSONB(), nullable=False),
        sa.Column("probe", postgresql.JSONB(), nullable=True),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("deployment_id"),
        sa.UniqueConstraint("slot", deferrable=True, initially="DEFERRED"),
        schema="platform",
    )
    op.create_index(
        op.f("ix_platform_backends_service_instance_id"),
        "backends",
        ["service_instance_id"],
        unique=False,
        schema="platform",
    )
    op.create_table(
        "build_queue",
        sa.Column("deployment_id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("service_instance_id", sa.UUID(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("deployment_id"),
        schema="platform",
    )
    op.create_index(
        op.f("ix_platform_build_queue_workspace_id"), "build_queue", ["workspace_id"], unique=False, schema="platform"
    )
    op.create_table(
        "build_turns",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id"),
        schema="platform",
    )
    op.create_table(
        "deletions",
        sa.Column("subject_id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id"),
        schema="platform",
    )
    op.create_table(
        "due",
        sa.Column("service_instance_id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("service_instance_id"),
        schema="platform",
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
        schema="platform",
    )
    op.create_index(op.f("ix_platform_events_subject"), "events", ["subject"], unique=False, schema="platform")
    op.create_table(
        "hosts",
        sa.Column("service_instance_id", sa.UUID(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("service_instance_id", "host"),
        sa.UniqueConstraint("host", deferrable=True, initially="DEFERRED"),
        schema="platform",
    )
    op.create_table(
        "route_reports",
        sa.Column("service_instance_id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("service_instance_id"),
        schema="platform",
    )
    op.create_table(
        "routes",
        sa.Column("service_instance_id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("page", sa.Text(), nullable=True),
        sa.Column("deployment_id", sa.UUID(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("service_instance_id"),
        schema="platform",
    )
    op.create_table(
        "stream_head",
        sa.Column("one", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("one"),
        schema="platform",
    )
    op.create_table(
        "subnets",
        sa.Column("environment_id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("environment_id"),
        sa.UniqueConstraint("number", deferrable=True, initially="DEFERRED"),
        schema="platform",
    )
    op.create_table(
        "token_hashes",
        sa.Column("token_id", sa.UUID(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("token_id"),
        sa.UniqueConstraint("hash"),
        schema="platform",
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="platform",
    )
    op.create_table(
        "workspaces",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        schema="platform",
    )
    op.create_table(
        "installation",
        sa.Column("one", sa.Integer(), primary_key=True),
        sa.Column("key_fingerprint", sa.Text(), nullable=False),
        schema="platform",
    )
    op.execute("INSERT INTO platform.stream_head VALUES (1, 0, repeat('0', 64), 'epoch')")
    _protect()
    _allocation()


def _protect() -> None:
    op.execute(f"GRANT USAGE ON SCHEMA platform TO {application()}")
    for table in TENANT_ROWS:
        row_security("platform", table, f"workspace_id::text = {SCOPE} OR {SCOPE} = 'platform'")
        grant("platform", table, "SELECT, INSERT, UPDATE, DELETE")
    row_security("platform", "workspaces", f"id::text = {SCOPE} OR {SCOPE} = 'platform'")
    grant("platform", "workspaces", "SELECT, INSERT")
    for table in ("events", "stream_head", "token_hashes"):
        row_security("platform", table, f"{SCOPE} = 'platform'")
    grant("platform", "token_hashes", "SELECT, INSERT")
    grant("platform", "stream_head", "SELECT, UPDATE")
    grant("platform", "installation", "SELECT")
    append_only("platform", "events")
    append_only("platform", "token_hashes")


def _allocation() -> None:
    """Slots, subnets and hosts are unique over all workspaces, whose rows a workspace's transaction cannot see.

    And the turns of builds are taken among all: of those of others, only numbers are seen.
    """
    op.execute(
        """
        CREATE FUNCTION platform.free_number(what text, below integer) RETURNS integer
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
            SELECT min(n)::integer FROM generate_series(CASE what WHEN 'slot' THEN 1 ELSE 0 END, below - 1) AS n
            WHERE CASE what
                WHEN 'slot' THEN NOT EXISTS (SELECT FROM platform.backends WHERE slot = n)
                WHEN 'subnet' THEN NOT EXISTS (SELECT FROM platform.subnets WHERE number = n)
            END
        $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION platform.host_is_taken(name text) RETURNS boolean
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
            SELECT EXISTS (SELECT FROM platform.hosts WHERE host = name)
        $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION platform.build_lines()
        RETURNS TABLE (workspace_id uuid, waiting bigint, building bigint, since timestamptz, turn_at timestamptz)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
            SELECT q.workspace_id, count(*) - count(q.began_at), count(q.began_at),
                min(q.queued_at) FILTER (WHERE q.began_at IS NULL), min(t.began_at)
            FROM platform.build_queue AS q LEFT JOIN platform.build_turns AS t ON t.workspace_id = q.workspace_id
            GROUP BY q.workspace_id
        $$
        """
    )
    for function in ("free_number(text, integer)", "host_is_taken(text)", "build_lines()"):
        op.execute(f"REVOKE ALL ON FUNCTION platform.{function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION platform.{function} TO {application()}")
