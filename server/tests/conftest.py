"""What all server tests share: one embedded PostgreSQL per test process, a fresh database per test that asks for one."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from trackside.bootstrap import know_events
from trackside.entry.admin import database as admin
from trackside.host.installation import APP_ROLE, OWNER_ROLE, SUPERUSER_ROLE, make_keys
from trackside.host.layout import REGISTER, Layout
from trackside.host.postgres import Postgres, PostgresPaths
from trackside.kit import events
from trackside.kit.clock import SystemClock
from trackside.kit.crypto import Keyring
from trackside.kit.db import Database
from trackside.kit.jobs import Jobs
from trackside.migrations.run import migrate_workspace
from trackside.rooms.access.model import Actor, ActorKind, Grant, Role
from trackside.rooms.identity import service as identity

_numbers = itertools.count()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`SHARD=i/n` keeps the i-th of n parts of the tests, so that several machines, or nights, can share them.

    Those that kill are a group of their own, for `--dist loadgroup`: they mostly wait, so the others run beside them.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group("killing" if "survival" in item.path.parts else "others"))
    part, _, parts = os.environ.get("SHARD", "1/1").partition("/")
    mine = set(sorted(item.nodeid for item in items)[int(part) - 1 :: int(parts)])
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in mine])
    items[:] = [item for item in items if item.nodeid in mine]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A part may get none of a few tests: that is no failure."""
    if "SHARD" in os.environ and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


@dataclass
class Server:
    """A running PostgreSQL; `url(role, database)` reaches it."""

    postgres: Postgres
    keys: Path

    def url(self, role: str, database: str) -> str:
        return self.postgres.url(role, database)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The embedded PostgreSQL, started the way the platform starts it."""
    root = Path(tempfile.mkdtemp(prefix="ts-pg-", dir="/var/lib" if os.geteuid() == 0 else None))
    root.chmod(0o711)
    layout = Layout(installation="testtest", home=root / "home", data=root / "data", run=root / "run")
    make_keys(layout)
    paths = PostgresPaths(layout.postgres_data, layout.postgres_run, layout.keys, REGISTER)
    postgres = Postgres(paths)

    async def prepare() -> subprocess.Popen[bytes]:
        launch = await postgres.prepare()
        file = root / "launch.json"
        file.write_text(launch.as_json())
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "trackside.host.launch", str(file)], stdout=log, stderr=log
            )
        await postgres.wait_until_ready()
        await postgres.ensure_database()
        return process

    process = asyncio.run(prepare())
    yield Server(postgres, layout.keys)
    process.send_signal(signal.SIGQUIT)
    process.wait(20)
    shutil.rmtree(root)


@dataclass
class Platform:
    """A fresh database with one workspace, and somebody who owns it."""

    database: Database
    owner: Database
    owner_url: str
    jobs: Jobs
    keyring: Keyring
    workspace_id: UUID
    actor: Actor


@pytest.fixture
async def platform(postgres_server: Server) -> AsyncIterator[Platform]:
    """A database of its own for one test, brought up to date by the real migrations."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin_url = postgres_server.url(SUPERUSER_ROLE, "postgres")
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        await connection.execute(psycopg.sql.SQL("CREATE DATABASE {} OWNER {}").format(
            psycopg.sql.Identifier(name), psycopg.sql.Identifier(OWNER_ROLE)))  # fmt: skip
    url, owner_url = postgres_server.url(APP_ROLE, name), postgres_server.url(OWNER_ROLE, name)
    keyring = Keyring.load(postgres_server.keys / "keyring.json")
    database, owner = Database(url, SystemClock()), Database(owner_url, SystemClock())
    jobs = Jobs(url)
    events.registry = events.Registry()
    know_events(jobs)
    await admin.prepare(owner_url, database, owner, keyring)
    async with database.transaction() as tx:
        workspace = await identity.workspace_named(tx, "default")
    actor = Actor("tester", ActorKind.TOKEN, "tester", (Grant(workspace.id, Role.OWNER),))
    yield Platform(database, owner, owner_url, jobs, keyring, workspace.id, actor)
    await database.close()
    await owner.close()
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        await connection.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))


async def another_workspace(platform: Platform, name: str) -> UUID:
    """A second tenant."""
    async with platform.database.transaction() as tx:
        workspace_id = await identity.record_workspace(tx, name)
    await asyncio.to_thread(migrate_workspace, platform.owner_url, APP_ROLE, workspace_id)
    return workspace_id
