"""Whose a line of the access log is, asked of the real database."""

from uuid import UUID

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from conftest import Platform, Server
from logs.accesses import an_access, paths
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.bootstrap.processes import Accesses
from trackside.host.installation import SUPERUSER_ROLE
from trackside.kit.ids import new_id
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Page
from trackside.rooms.projects import service as projects


async def an_instance_with_a_route(platform: Platform, name: str) -> UUID:
    async with platform.database.transaction(platform.workspace_id, actor=platform.actor.as_record()) as tx:
        project = await projects.create_project(tx, platform.actor, name)
        await projects.create_service(tx, platform.actor, project.id, "web")
        (instance,) = await projects.list_instances(tx, project.id)
        await networking.route_to_page(tx, instance.id, Page.STOPPED)
    return instance.id


async def close_for_all(server: Server, database: str, *, connections: int) -> None:
    """End all connections to the database, and let no more in than these (-1: any number)."""
    url = server.url(SUPERUSER_ROLE, "postgres")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        limit = psycopg.sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
        await connection.execute(limit.format(psycopg.sql.Identifier(database), connections))
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        await connection.execute(ended, [database])


async def test_the_first_requests_of_a_new_service_are_kept_too(platform: Platform) -> None:
    store = MemoryLogStore()
    accesses = Accesses(platform.database, store)
    first = await an_instance_with_a_route(platform, "first")
    await accesses([an_access(first, "/1")])
    second = await an_instance_with_a_route(platform, "second")
    await accesses([an_access(first, "/2"), an_access(second, "/3"), an_access(new_id(), "/nobody")])
    assert await paths(store, platform.workspace_id, first) == ["/1", "/2"]
    assert await paths(store, platform.workspace_id, second) == ["/3"]


async def test_without_the_database_known_services_are_kept_and_new_ones_wait(
    platform: Platform, postgres_server: Server
) -> None:
    store = MemoryLogStore()
    accesses = Accesses(platform.database, store)
    first = await an_instance_with_a_route(platform, "first")
    await accesses([an_access(first, "/1")])
    second = await an_instance_with_a_route(platform, "second")
    database = str(make_url(platform.owner_url).database)
    await close_for_all(postgres_server, database, connections=0)
    await accesses([an_access(first, "/2")])
    with pytest.raises((SQLAlchemyError, OSError)):
        await accesses([an_access(first, "/3"), an_access(second, "/4")])
    await close_for_all(postgres_server, database, connections=-1)
    await accesses([an_access(first, "/3"), an_access(second, "/4")])
    assert await paths(store, platform.workspace_id, first) == ["/1", "/2", "/3"]
    assert await paths(store, platform.workspace_id, second) == ["/4"]
