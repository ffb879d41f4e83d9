"""PostgreSQL: one engine per process, one transaction per request or job phase, one workspace per transaction.

A transaction binds its workspace twice: the schema `tenant` in every statement is translated to the workspace's own schema,
and `trackside.workspace` is set for row-level security, the second wall. Nothing outside this module commits.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql
from sqlalchemy import Column, ColumnElement, MetaData, Table, any_, event, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as Uuid
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from trackside.kit.clock import Clock

TENANT = "tenant"
"""The schema name that tables of a workspace are declared with; translated for each transaction."""

POOL_SECONDS = 30.0
"""How long a transaction waits for a connection where all are in use: a hundred that write to one workspace at once wait in turn."""
PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""For servers that hang or vanish: seconds to connect; and, over TCP, until a silent connection is given up (the last in ms)."""

platform_metadata = MetaData(schema="platform")
tenant_metadata = MetaData(schema=TENANT)


@dataclass(frozen=True)
class Emptied:
    """A room's read models: shared ones in `platform`, and those of each workspace's schema; children before parents."""

    shared: tuple[Table, ...] = ()
    workspace: tuple[Table, ...] = ()


_inside: ContextVar[int] = ContextVar("open transactions of this task", default=0)


def schema_of(workspace_id: UUID) -> str:
    """The schema that holds a workspace's data."""
    return f"tenant_{workspace_id.hex}"


def refuse_inside_transaction() -> None:
    """Raise where the world would be touched while a transaction is open; adapters' in-memory twins call this."""
    if _inside.get():
        raise RuntimeError("The world must not be touched inside a database transaction.")


@dataclass
class Transaction:
    """An open transaction. `workspace_id` is the bound workspace, None where it is the platform's own."""

    connection: AsyncConnection
    clock: Clock
    workspace_id: UUID | None
    actor: dict[str, str] = field(default_factory=dict)
    after_commit: list[Callable[[], None]] = field(default_factory=list)

    @property
    def workspace(self) -> UUID:
        """The bound workspace; a programming error where none is bound."""
        if self.workspace_id is None:
            raise RuntimeError("This transaction is bound to no workspace.")
        return self.workspace_id

    async def raw(self) -> psycopg.AsyncConnection[object]:
        """The driver's connection underneath, in this very transaction."""
        wrapped = await self.connection.get_raw_connection()
        return wrapped.driver_connection  # pyright: ignore[reportReturnType]

    async def notify(self, channel: str, payload: str) -> None:
        """Tell listeners at commit; carries ids only."""
        await self.connection.execute(select(func.pg_notify(channel, payload)))


SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
PLATFORM_ACTOR = {"kind": "platform", "id": "platform", "name": "Trackside"}


class Impatient(psycopg.AsyncConnection[Any]):
    """Hangs up where the server has not answered a statement in `seconds`: that fails as with a server that has died.

    Cancelling it would take a server that listens, and in a request would pass by what turns errors into answers.
    """

    seconds: ClassVar[float]

    async def wait(self, *arguments: Any, **options: Any) -> Any:
        timer = asyncio.get_running_loop().call_later(self.seconds, self._hang_up)
        try:
            return await super().wait(*arguments, **options)
        finally:
            timer.cancel()

    def _hang_up(self) -> None:
        with suppress(OSError, psycopg.OperationalError), socket.socket(fileno=os.dup(self.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)


class Database:
    """Opens transactions. URL: `postgresql://…`. `seconds`: how long a statement may take, where somebody waits for an answer."""

    def __init__(self, url: str, clock: Clock, *, pool_size: int = 10, seconds: float | None = None) -> None:
        self.url = url
        self.clock = clock
        kind = type("Impatient", (Impatient,), {"seconds": seconds}) if seconds else psycopg.AsyncConnection
        self.engine = _engine(url, pool_size, kind.connect, overflow=pool_size)
        self._reading = _engine(url, pool_size, kind.connect, overflow=0)
        """What only reads has connections of its own: all others may be waiting for a workspace's stream."""

    async def close(self) -> None:
        await self.engine.dispose()
        await self._reading.dispose()

    @asynccontextmanager
    async def transaction(
        self, workspace_id: UUID | None = None, *, actor: dict[str, str] | None = None, is_snapshot: bool = False
    ) -> AsyncGenerator[Transaction]:
        """A transaction bound to one workspace, or, with None, to the platform (sees every workspace's shared rows).

        `is_snapshot`: it only reads, and all its statements see one moment.
        """
        token = _inside.set(_inside.get() + 1)
        try:
            async with (self._reading if is_snapshot else self.engine).connect() as plain:
                options = SNAPSHOT if is_snapshot else {}
                connection = await plain.execution_options(
                    schema_translate_map={TENANT: schema_of(workspace_id)} if workspace_id else {}, **options
                )
                transaction = Transaction(connection, self.clock, workspace_id, actor or PLATFORM_ACTOR)
                async with connection.begin():
                    await bind(connection, workspace_id)
                    yield transaction
            for tell in transaction.after_commit:
                tell()
        finally:
            _inside.reset(token)

    async def listen(self, *channels: str) -> AsyncIterator[str]:
        """Payloads notified on the channels, for as long as the connection lives; yields "" once when listening has begun."""
        connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True, **PATIENCE)
        async with connection:
            for channel in channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            yield ""
            async for notice in connection.notifies():
                yield notice.payload


def _engine(url: str, pool_size: int, connect: Callable[..., Any], *, overflow: int) -> AsyncEngine:
    made = create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=overflow,
        pool_recycle=600,
        pool_pre_ping=True,
        pool_timeout=POOL_SECONDS,
        connect_args={"prepare_threshold": None, "async_creator_fn": connect, **PATIENCE},
        json_deserializer=msgspec.json.decode,  # several times as fast as the standard library's
    )
    event.listen(made.sync_engine, "do_connect", _plain_connect)
    return made


def among(column: Column[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
    """Whether the column is one of the ids, which travel as one value: hundreds of parameters take longer than the query."""
    return column == any_(literal(list(ids), ARRAY(Uuid(as_uuid=True))))


async def bind(connection: AsyncConnection, workspace_id: UUID | None) -> None:
    """Set the row-level security scope of the present transaction."""
    scope = str(workspace_id) if workspace_id else "platform"
    await connection.execute(select(func.set_config("trackside.workspace", scope, True)))


def sqlalchemy_url(url: str) -> str:
    """The URL with the driver named, as SQLAlchemy wants it."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _plain_connect(dialect: Dialect, record: object, arguments: list[object], options: dict[str, object]) -> None:
    """Statements are planned per execution: a connection that visits many schemas must not keep plans for each."""
    options["prepare_threshold"] = None
