"""What the migrations make is what the stores declare."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, create_engine, text

from conftest import Platform
from trackside.kit.db import TENANT, platform_metadata, schema_of, sqlalchemy_url, tenant_metadata
from trackside.migrations import run

BESIDE = {"alembic_version", "installation"}
"""Tables of the migrations themselves, and of the start's own check of keys."""


def _differences(connection: Connection, metadata: MetaData, schema: str) -> list[Any]:
    def include_name(name: str | None, kind: str, _: Any) -> bool:
        return name == schema if kind == "schema" else name not in BESIDE

    options = {"include_schemas": True, "include_name": include_name, "compare_type": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def test_the_platform_s_schema_is_what_the_stores_declare(platform: Platform) -> None:
    engine = create_engine(sqlalchemy_url(platform.owner_url))
    with engine.connect() as connection:
        assert _differences(connection, platform_metadata, "platform") == []
    engine.dispose()


def test_a_workspace_s_schema_is_what_the_stores_declare(platform: Platform) -> None:
    """The schema gets the name that the stores declare their tables with, for the time of a transaction."""
    engine = create_engine(sqlalchemy_url(platform.owner_url))
    with engine.connect() as connection, connection.begin() as renaming:
        connection.execute(text(f"ALTER SCHEMA {schema_of(platform.workspace_id)} RENAME TO {TENANT}"))
        assert _differences(connection, tenant_metadata, TENANT) == []
        renaming.rollback()
    engine.dispose()


def test_a_workspace_has_at_most_twelve_tables() -> None:
    assert len(tenant_metadata.tables) <= 12


def test_migrating_again_changes_nothing(platform: Platform) -> None:
    role = run.application_role(platform.database.url)
    run.migrate_platform(platform.owner_url, role)
    run.migrate_workspace(platform.owner_url, role, platform.workspace_id)


def test_a_role_that_is_no_plain_name_is_refused_before_anything_is_done(platform: Platform) -> None:
    with pytest.raises(ValueError, match="no plain identifier"):
        run.migrate_platform(platform.owner_url, "trackside_app; CREATE TABLE platform.trespass ()")
    engine = create_engine(sqlalchemy_url(platform.owner_url))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT to_regclass('platform.trespass')")).scalar() is None
    engine.dispose()


async def test_every_table_with_rows_of_tenants_has_its_second_wall(platform: Platform) -> None:
    query = """
        SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND NOT c.relrowsecurity AND (n.nspname = 'platform' OR n.nspname LIKE 'tenant%')
    """
    async with platform.owner.transaction() as tx:
        open_tables = {row[0].partition(".")[2] for row in await tx.connection.execute(text(query))}
    assert open_tables <= BESIDE


@pytest.mark.parametrize("metadata", [platform_metadata, tenant_metadata], ids=["platform", "tenant"])
def test_times_have_a_zone(metadata: MetaData) -> None:
    naive = [
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if column.name.endswith("_at") and not getattr(column.type, "timezone", False)
    ]
    assert naive == []
