"""Schemas that a newer version has widened, after the platform went back; and what an upgrade asks of the database."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from conftest import Platform, another_workspace
from trackside.entry.admin import database as admin
from trackside.entry.admin.upgrading import ProcessesIdle, SchemaNewer, migrations_to_come, wait_until_working
from trackside.kit.db import schema_of
from trackside.migrations.run import revisions


async def set_revision(platform: Platform, schema: str, revision: str) -> None:
    async with platform.owner.transaction() as tx:
        await tx.connection.execute(text(f"UPDATE {schema}.alembic_version SET version_num = :new"), {"new": revision})


async def test_a_start_leaves_schemas_of_a_newer_version_as_they_are(platform: Platform) -> None:
    for schema in ("platform", schema_of(platform.workspace_id)):
        await set_revision(platform, schema, "9999")
    await admin.prepare(platform.owner_url, platform.database, platform.owner, platform.keyring)
    async with platform.owner.transaction() as tx:
        assert (
            await tx.connection.execute(text("SELECT version_num FROM platform.alembic_version"))
        ).scalar() == "9999"


async def test_a_workspace_of_the_present_revision_is_still_brought_up_to_date_beside_a_newer_one(
    platform: Platform,
) -> None:
    await set_revision(platform, "platform", "9999")
    other = await another_workspace(platform, "other")
    async with platform.owner.transaction() as tx:
        found = await tx.connection.execute(text(f"SELECT version_num FROM {schema_of(other)}.alembic_version"))
        assert found.scalar() == revisions("tenant")[0]


async def test_an_upgrade_refuses_newer_schemas_unless_told_to_go_back(platform: Platform) -> None:
    assert await migrations_to_come(platform.owner, allow_newer=False) == []
    await set_revision(platform, schema_of(platform.workspace_id), "9999")
    with pytest.raises(SchemaNewer, match="tenant 9999"):
        await migrations_to_come(platform.owner, allow_newer=False)
    assert await migrations_to_come(platform.owner, allow_newer=True) == []


async def test_processes_that_take_up_no_work_are_told(platform: Platform) -> None:
    async with platform.database.transaction() as tx:
        since = tx.clock.now() - timedelta(minutes=1)
    async with platform.jobs.app.open_async():
        with pytest.raises(ProcessesIdle, match="The deployer did not take up work"):
            await wait_until_working(platform.database, platform.jobs, since, seconds=0.3)
