"""The text of the embedded PostgreSQL's configuration. Pure."""

from pathlib import Path

SETTINGS = {
    "listen_addresses": "''",
    "unix_socket_permissions": "0777",
    "max_connections": "200",
    "shared_buffers": "'64MB'",
    "effective_cache_size": "'512MB'",
    "work_mem": "'4MB'",
    "maintenance_work_mem": "'64MB'",
    "wal_buffers": "'4MB'",
    "max_wal_size": "'512MB'",
    "min_wal_size": "'80MB'",
    "checkpoint_completion_target": "0.9",
    "password_encryption": "'scram-sha-256'",
    "idle_in_transaction_session_timeout": "'5min'",
    "log_min_messages": "'warning'",
    "log_line_prefix": "'%m [%p] %u@%d '",
    "log_timezone": "'UTC'",
    "timezone": "'UTC'",
    "jit": "off",
}
"""For a small machine; the socket lies in a directory that only the platform's users may enter, and every role has a password."""


def postgresql_conf(socket_directory: Path) -> str:
    lines = [
        f"unix_socket_directories = '{socket_directory}'",
        *(f"{name} = {value}" for name, value in SETTINGS.items()),
    ]
    return "# Written by Trackside at every start.\n" + "\n".join(lines) + "\n"


def pg_hba_conf() -> str:
    """Passwords on the socket; no network at all."""
    return "# Written by Trackside at every start.\nlocal all all scram-sha-256\n"
