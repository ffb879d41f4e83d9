"""What every migration does to a table besides making it: row security, grants, and append-only stores.

Names put into statements here are our own constants, or a schema and a role that were checked to be plain identifiers.
"""

import re

from alembic import context, op

SCOPE = "nullif(current_setting('trackside.workspace', true), '')"
"""The workspace the transaction is bound to, or `platform`; NULL, and so no row at all, where none was set."""


ROLE = r"[a-z_][a-z0-9_]*"


def plain(name: str, value: str, pattern: str) -> str:
    """The value, to be put into statements. Errors: ValueError where it is no plain identifier."""
    if not re.fullmatch(pattern, value):
        raise ValueError(f"{name} is no plain identifier: {value!r}")
    return value


def _attribute(name: str, pattern: str) -> str:
    return plain(name, str(context.config.attributes[name]), pattern)


def application() -> str:
    """The role the platform's processes use: neither owner nor superuser."""
    return _attribute("application", ROLE)


def schema() -> str:
    """The workspace's schema."""
    return _attribute("schema", r"tenant_[0-9a-f]{32}")


def workspace() -> str:
    """The workspace's id."""
    return _attribute("workspace", r"[0-9a-f-]{36}")


def row_security(schema_name: str, table: str, condition: str) -> None:
    """Show and take only rows that meet the condition."""
    op.execute(f"ALTER TABLE {schema_name}.{table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY wall ON {schema_name}.{table} USING ({condition}) WITH CHECK ({condition})")


def grant(schema_name: str, table: str, rights: str) -> None:
    """Let the application do just that."""
    op.execute(f"GRANT {rights} ON {schema_name}.{table} TO {application()}")


def append_only(schema_name: str, table: str) -> None:
    """Refuse UPDATE, DELETE and TRUNCATE of what was written once, whoever asks."""
    grant(schema_name, table, "SELECT, INSERT")
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema_name}.{table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION platform.refuse_change()"
    )
