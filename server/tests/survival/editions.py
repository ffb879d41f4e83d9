"""Later versions of the platform, made out of this checkout: a higher number, and migrations that it does not have."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

CHECKOUT = Path(__file__).parents[3]
NUMBER = 'version = "0.1.0"'
MIGRATION = '''"""A column that an older version knows nothing of."""

import sqlalchemy as sa
from alembic import op

from trackside.migrations import walls

revision = "{revision:04}"
down_revision = "{before:04}"


def upgrade() -> None:
    op.add_column("{table}", sa.Column("edition_{revision}", sa.Text(), nullable=True), schema={schema})
'''
TABLES = {"platform": ("workspaces", '"platform"'), "tenant": ("services", "walls.schema()")}
DEPLOYER = Path("server/src/trackside/entry/worker/deployer.py")
RUNS = "    declare(deployer)\n    async with"


@dataclass
class Editions:
    """Makes them below `root`, each newer than all before it; `home` is the state directory of the platform they are for."""

    root: Path
    home: Path
    count: int = 0

    def make(self, *, migration: str = "", deployer: str = "", adds_migration: bool = True) -> Path:
        """A checkout of the next version. `migration`: what the tenants' new migration does besides; `deployer`: what the
        deployer does instead of its work."""
        self.count += 1
        checkout = self.root / f"edition-{self.count}"
        copy_checkout(checkout)
        replace_in(checkout / "server/pyproject.toml", NUMBER, f'version = "{self.number}"')
        here = min(self.revisions())
        for revision in range(2, here + 1 + adds_migration):
            for line, (table, schema) in TABLES.items():
                text = MIGRATION.format(revision=revision, before=revision - 1, table=table, schema=schema)
                if revision > here and line == "tenant" and migration:
                    text += f"    {migration}\n"
                file = f"{revision:04}_edition.py"
                (checkout / "server/src/trackside/migrations" / line / "versions" / file).write_text(text)
        if deployer:
            replace_in(checkout / DEPLOYER, RUNS, f"    {deployer}\n{RUNS}")
        return checkout

    @property
    def number(self) -> str:
        """The newest edition's version."""
        return f"0.{self.count + 1}.0"

    def revisions(self) -> list[int]:
        """What the schemas are at, the platform's first."""
        with self.connection() as connection:
            tenants = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tenant\\_%'").fetchall()
            return [
                int(str(row[0]))
                for schema in ("platform", *(tenant[0] for tenant in tenants))
                for row in connection.execute(
                    sql.SQL("SELECT version_num FROM {}.alembic_version").format(sql.Identifier(str(schema)))
                )
            ]

    def has_column(self, revision: int) -> bool:
        """Whether a workspace's schema has what the revision adds."""
        query = "SELECT 1 FROM information_schema.columns WHERE table_name = 'services' AND column_name = %s"
        with self.connection() as connection:
            return connection.execute(query, [f"edition_{revision}"]).fetchone() is not None

    def connection(self) -> psycopg.Connection[tuple[object, ...]]:
        """As the owner of the schemas."""
        return psycopg.connect(json.loads((self.home / "settings.json").read_text())["database_owner_url"])


def copy_checkout(target: Path) -> None:
    """What a clone of this checkout would have, as it is now, with the tools that setting it up would fetch."""
    for name in ("server", "planner", "cli"):
        ignored = shutil.ignore_patterns("tests", "__pycache__")
        shutil.copytree(CHECKOUT / name, target / name, ignore=ignored)
    (target / "bin").mkdir()
    for name in ("bin/setup", "bin/setup.py", "uv.lock", "pyproject.toml"):
        shutil.copy2(CHECKOUT / name, target / name)
    for tool in (CHECKOUT / ".tools").glob("uv-*"):
        shutil.copytree(tool, target / ".tools" / tool.name)


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{file} reads otherwise by now"
    file.write_text(text.replace(old, new, 1))
