"""The database defends itself: tenants are apart, events and secrets are append-only, the role is restricted."""

import psycopg
import pytest
from sqlalchemy import text

from conftest import Platform, another_workspace
from trackside.kit import events
from trackside.kit.db import schema_of
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.service import Vault


async def test_the_application_role_cannot_change_or_delete_an_event(platform: Platform) -> None:
    async with platform.database.transaction(platform.workspace_id) as tx:
        await projects.create_project(tx, platform.actor, "shop")
    for statement in ("UPDATE tenant.events SET type = 'X'", "DELETE FROM tenant.events", "TRUNCATE tenant.events"):
        sql = statement.replace("tenant.", f"{schema_of(platform.workspace_id)}.")
        for database in (platform.database, platform.owner):
            with pytest.raises(Exception, match=r"append-only|permission denied"):
                async with database.transaction(platform.workspace_id) as tx:
                    await tx.connection.execute(text(sql))


async def test_a_transaction_of_one_workspace_sees_nothing_of_another_even_by_its_schema_name(
    platform: Platform,
) -> None:
    other = await another_workspace(platform, "other")
    async with platform.database.transaction(platform.workspace_id) as tx:
        await projects.create_project(tx, platform.actor, "shop")
    async with platform.database.transaction(other) as tx:
        rows = await tx.connection.execute(text(f"SELECT * FROM {schema_of(platform.workspace_id)}.projects"))
        assert rows.all() == []


async def test_without_a_bound_workspace_no_row_is_seen(platform: Platform) -> None:
    async with platform.database.transaction(platform.workspace_id) as tx:
        await projects.create_project(tx, platform.actor, "shop")
    async with await psycopg.AsyncConnection.connect(platform.database.url) as connection:
        for table in (f"{schema_of(platform.workspace_id)}.projects", "platform.workspaces", "platform.tokens"):
            found = await connection.execute(f"SELECT * FROM {table}")
            assert await found.fetchall() == []


async def test_the_application_role_owns_nothing_and_is_no_superuser(platform: Platform) -> None:
    async with await psycopg.AsyncConnection.connect(platform.database.url) as connection:
        found = await connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole,"
            " (SELECT count(*) FROM pg_class WHERE relowner = pg_roles.oid) FROM pg_roles WHERE rolname = current_user"
        )
        assert await found.fetchone() == (False, False, False, False, 0)


async def test_the_stream_is_gap_free_and_chained(platform: Platform) -> None:
    async with platform.database.transaction(platform.workspace_id) as tx:
        for name in ("one", "two", "three"):
            await projects.create_project(tx, platform.actor, name)
        assert await events.verify(tx, "workspace") is None
        assert [recorded.seq async for recorded in events.read(tx, "workspace")] == [1, 2, 3, 4, 5, 6]


async def test_no_value_of_a_variable_is_in_any_event_or_config(platform: Platform) -> None:
    vault = Vault(platform.keyring)
    async with platform.database.transaction(platform.workspace_id) as tx:
        project = await projects.create_project(tx, platform.actor, "shop")
        service = await projects.create_service(tx, platform.actor, project.id, "web")
        instance = (await projects.list_instances(tx, project.id))[0]
        await projects.change_variables(tx, platform.actor, vault, instance.id, {"PASSWORD": "correct horse"})
        assert await projects.reveal_variables(tx, platform.actor, vault, instance.id) == {"PASSWORD": "correct horse"}
        assert service.name == "web"
    async with platform.owner.transaction(platform.workspace_id) as tx:
        for table in ("events", "config_versions", "secret_versions"):
            rows = await tx.connection.execute(
                text(f"SELECT t::text FROM {schema_of(platform.workspace_id)}.{table} t")
            )
            assert not [row for row in rows if "correct horse" in row[0]]
