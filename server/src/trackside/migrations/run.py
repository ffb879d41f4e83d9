"""Brings the schemas up to date. Runs as the owner of the database; may be run again at any time."""

from pathlib import Path
from uuid import UUID

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from procrastinate.schema import SchemaManager
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url

from trackside.kit.db import TENANT, schema_of, sqlalchemy_url
from trackside.kit.jobs import SCHEMA as JOBS
from trackside.migrations import walls

HERE = Path(__file__).parent
LOCK = 0x74726163
LOCK_SECONDS = 10


def migrate_platform(owner_url: str, application: str) -> None:
    """The schemas `platform` and `jobs`. `application`: the role the processes use. Errors: ValueError, see `walls.plain`."""
    walls.plain("application", application, walls.ROLE)
    with _locked(owner_url) as engine, engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS platform"))
        connection.execute(
            text(
                "CREATE OR REPLACE FUNCTION platform.refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '42501'; END $$"
            )
        )
        _jobs(connection, application)
        _upgrade(connection, "platform", {"schema": "platform", "application": application, "workspace": ""})


def migrate_workspace(owner_url: str, application: str, workspace_id: UUID) -> None:
    """The workspace's own schema, made where it is missing."""
    schema = schema_of(workspace_id)
    with _locked(owner_url) as engine, engine.connect() as plain:
        connection = plain.execution_options(schema_translate_map={TENANT: schema})
        with connection.begin():
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
            attributes = {"schema": schema, "application": application, "workspace": str(workspace_id)}
            _upgrade(connection, "tenant", attributes)


def application_role(application_url: str) -> str:
    """The role in the application's URL."""
    return make_url(application_url).username or "trackside_app"


class _locked:
    """One migration at a time, over all processes."""

    def __init__(self, owner_url: str) -> None:
        self._engine = create_engine(sqlalchemy_url(owner_url))

    def __enter__(self) -> Engine:
        self._holder = self._engine.connect()
        self._holder.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        return self._engine

    def __exit__(self, *_: object) -> None:
        self._holder.close()
        self._engine.dispose()


def _upgrade(connection: Connection, line: str, attributes: dict[str, str]) -> None:
    """Nothing, where a newer version has widened the schema and the platform went back: what was added is in nobody's way."""
    config = _config(line)
    present = revision_of(connection, attributes["schema"])
    if present is not None and present not in revisions(line):
        return
    # A change that waits for a lock holds up everybody behind it: rather fail, and be tried again.
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
    config.attributes.update(attributes, connection=connection)
    command.upgrade(config, "head")


def _config(line: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / line))
    config.set_main_option("path_separator", "os")
    return config


def revisions(line: str) -> list[str]:
    """The revisions this version knows of a line (`platform` or `tenant`), the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config(line)).walk_revisions()]


def revision_of(connection: Connection, schema: str) -> str | None:
    """The revision a schema is at; None before its first."""
    return MigrationContext.configure(connection, opts={"version_table_schema": schema}).get_current_revision()


def migrate_here() -> None:
    """What each line's `env.py` does."""
    attributes = context.config.attributes
    context.configure(connection=attributes["connection"], version_table_schema=attributes["schema"])
    context.run_migrations()


WAKING = """
CREATE FUNCTION tell_lock_is_free() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('procrastinate_queue_v1#' || queue_name, json_build_object('type', 'job_inserted', 'job_id', id)::text)
    FROM jobs.procrastinate_jobs WHERE lock = OLD.lock AND status = 'todo';
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_a_job_given_back AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (OLD.status = 'doing' AND NEW.status = 'todo')
    EXECUTE FUNCTION procrastinate_notify_queue_job_inserted_v1();
CREATE TRIGGER tell_lock_is_free_at_an_end AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (OLD.status = 'doing' AND NEW.status <> 'todo' AND OLD.lock IS NOT NULL)
    EXECUTE FUNCTION tell_lock_is_free();
CREATE TRIGGER tell_lock_is_free_after_all AFTER DELETE ON procrastinate_jobs
    FOR EACH ROW WHEN (OLD.lock IS NOT NULL) EXECUTE FUNCTION tell_lock_is_free();
"""
"""Workers are told of new jobs only; so that they need not ask all the time, also of one that may be begun now, again or at last."""


def _jobs(connection: Connection, application: str) -> None:
    """The job queue's schema, which the library brings along."""
    exists = connection.execute(text("SELECT to_regclass('jobs.procrastinate_jobs')")).scalar()
    if not exists:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {JOBS}"))
        connection.execute(text(f"SET LOCAL search_path TO {JOBS}"))
        cursor = connection.connection.cursor()
        cursor.execute(SchemaManager.get_schema())
        cursor.execute(WAKING)
        connection.execute(text("SET LOCAL search_path TO DEFAULT"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA {JOBS} TO {application}"))
    connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA {JOBS} TO {application}"))
    connection.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {JOBS} TO {application}"))
