"""Brings the schemas up to date. Runs as the owner of the database; may be run again at any time."""

from pathlib import Path
from uuid import UUID

from alembic import command, context
from alembic.config import Config
from procrastinate.schema import SchemaManager
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url

from trackside.kit.db import TENANT, schema_of, sqlalchemy_url
from trackside.kit.jobs import SCHEMA as JOBS

HERE = Path(__file__).parent
LOCK = 0x74726163


def migrate_platform(owner_url: str, application: str) -> None:
    """The schemas `platform` and `jobs`. `application`: the role the processes use."""
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
    config = Config()
    config.set_main_option("script_location", str(HERE / line))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes, connection=connection)
    command.upgrade(config, "head")


def migrate_here() -> None:
    """What each line's `env.py` does."""
    attributes = context.config.attributes
    context.configure(connection=attributes["connection"], version_table_schema=attributes["schema"])
    context.run_migrations()


def _jobs(connection: Connection, application: str) -> None:
    """The job queue's schema, which the library brings along."""
    exists = connection.execute(text("SELECT to_regclass('jobs.procrastinate_jobs')")).scalar()
    if not exists:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {JOBS}"))
        connection.execute(text(f"SET LOCAL search_path TO {JOBS}"))
        cursor = connection.connection.cursor()
        cursor.execute(SchemaManager.get_schema())
        connection.execute(text("SET LOCAL search_path TO DEFAULT"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA {JOBS} TO {application}"))
    connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA {JOBS} TO {application}"))
    connection.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {JOBS} TO {application}"))
