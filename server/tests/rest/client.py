"""The REST door through ASGI, on a real database: a client that is signed in, and what to build with it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from granian.constants import Interfaces
from granian.server.embed import Server
from httpx import ASGITransport, AsyncClient, TransportError
from litestar import Litestar
from psycopg import sql
from sqlalchemy import update

from conftest import Platform
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.adapters.objects.folder import UploadFolder
from trackside.entry.rest.app import RestParts, create_app
from trackside.entry.rest.envelope import Envelope
from trackside.kit import events as stream
from trackside.rooms.deployments import events
from trackside.rooms.deployments.model import Status
from trackside.rooms.deployments.store.tables import deployments
from trackside.rooms.identity import service as identity
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects.service import Vault
from trackside.rooms.telemetry.ports import LogStore

MEBIBYTE = 1 << 20
UPLOAD_BYTES = 4 * MEBIBYTE
VERSION = "9.8.7"
ERROR_KEYS = {"code", "kind", "message", "hint", "request_id"}
IMAGE = {"kind": "image", "reference": "app:1"}


@dataclass
class Rest:
    """Somebody with a token, who calls."""

    app: Litestar
    client: AsyncClient
    platform: Platform
    log_store: MemoryLogStore
    token: str
    workspace_id: UUID

    async def send(self, method: str, path: str, **request: Any) -> Any:
        """The response as it is."""
        headers = {"Authorization": f"Bearer {self.token}", **request.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **request)

    async def call(self, method: str, path: str, **request: Any) -> Any:
        """The answer's JSON, where the call was accepted."""
        response = await self.send(method, path, **request)
        assert response.status_code < 300, response.text
        return response.json() if response.text else None

    async def refused(self, method: str, path: str, status: int, **request: Any) -> dict[str, str]:
        """The error of a call that must be refused with this status, in the one shape of all errors."""
        response = await self.send(method, path, **request)
        assert response.status_code == status, response.text
        return told(response)

    async def a_project(self, name: str = "shop") -> dict[str, Any]:
        return await self.call("POST", "/v1/projects", json={"name": name})

    async def an_instance(self, project: str = "shop", service: str = "web") -> dict[str, Any]:
        """A service in `production`, as its service instance."""
        made = await self.a_project(project)
        await self.call("POST", f"/v1/projects/{made['id']}/services", json={"name": service})
        shown = await self.call("GET", f"/v1/projects/{made['id']}")
        return shown["environments"][0]["service_instances"][0]

    async def deploy(self, instance_id: str, **body: Any) -> dict[str, Any]:
        request = {"source": IMAGE, **body}
        return await self.call("POST", f"/v1/service-instances/{instance_id}/deployments", json=request)

    async def a_deployment(self) -> dict[str, Any]:
        return await self.deploy((await self.an_instance())["id"])

    async def serve(self, deployment: dict[str, Any], build_variables: tuple[str, ...] = ()) -> dict[str, Any]:
        """What the engine records of a deployment that goes well."""
        deployment_id, instance_id = UUID(deployment["id"]), UUID(deployment["service_instance_id"])
        image = {"image_id": f"sha256:{deployment_id.hex}", "build_variables": list(build_variables)}
        async with self.platform.database.transaction(self.workspace_id) as tx:
            if deployment["status"] in (Status.QUEUED, Status.BUILDING):
                await stream.record(
                    tx,
                    events.DeploymentProgressed(deployment_id, str(Status.DEPLOYING)),
                    events.ImageReady(deployment_id, instance_id, image),
                )
            await stream.record(tx, events.DeploymentSucceeded(deployment_id))
        return await self.call("GET", f"/v1/deployments/{deployment['id']}")

    async def open_transactions(self) -> int:
        """How many transactions of this test's database wait for their owner."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
        )
        async with await psycopg.AsyncConnection.connect(self.platform.owner_url) as connection:
            row = await (await connection.execute(query)).fetchone()
        assert row is not None
        return int(row[0])

    async def tables_with(self, text: str) -> list[str]:
        """The tables of all schemas with this text in a row of theirs."""
        tables = (
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        found: list[str] = []
        async with await psycopg.AsyncConnection.connect(self.platform.owner_url) as connection:
            for schema, table in await (await connection.execute(tables)).fetchall():
                query = sql.SQL("SELECT 1 FROM {} AS row WHERE strpos(row::text, %s) > 0").format(
                    sql.Identifier(schema, table)
                )
                found += [table] if await (await connection.execute(query, [text])).fetchone() else []
        return sorted(found)

    async def rewrite_source(self, deployment_id: str, source: dict[str, Any]) -> None:
        """Give a deployment a source that is no longer accepted, as a version before this one kept it."""
        async with self.platform.database.transaction(self.workspace_id) as tx:
            await tx.connection.execute(
                update(deployments).where(deployments.c.id == UUID(deployment_id)).values(source=source)
            )

    async def remove(self, deployment: dict[str, Any]) -> None:
        """What the engine records of a deployment that was replaced."""
        deployment_id, instance_id = UUID(deployment["id"]), UUID(deployment["service_instance_id"])
        await self.record(
            events.DeploymentRemoving(deployment_id, instance_id, "Replaced."),
            events.DeploymentRemoved(deployment_id, instance_id, None),
        )

    async def record(self, *facts: stream.Event) -> None:
        """What the engine records besides."""
        async with self.platform.database.transaction(self.workspace_id) as tx:
            await stream.record(tx, *facts)


def told(response: Any) -> dict[str, str]:
    """The error of a response, checked for its shape."""
    body = response.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert set(error) == ERROR_KEYS
    assert all(isinstance(value, str) and value for value in error.values()), error
    assert error["request_id"] == response.headers["x-request-id"]
    return error


def make_app(
    platform: Platform, log_store: LogStore, directory: Path, *, allow_engine_images: bool = False, **options: Any
) -> Litestar:
    """The application, joined as the platform joins it, with memory for the world."""
    return create_app(
        RestParts(
            platform.database,
            Vault(platform.keyring),
            Addressing("localhost", IPv4Network("10.210.0.0/16")),
            log_store,
            UploadFolder(directory, UPLOAD_BYTES),
            "http://{host}:7780",
            VERSION,
            kept_images=5,
            allow_engine_images=allow_engine_images,
        ),
        **options,
    )


@asynccontextmanager
async def signed_in(platform: Platform, directory: Path) -> AsyncIterator[Rest]:
    """A client that acts as the owner of the platform's workspace."""
    log_store = MemoryLogStore()
    app = make_app(platform, log_store, directory)
    transport = ASGITransport(Envelope(app, VERSION), raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with AsyncClient(transport=transport, base_url="http://testserver") as client:
        token = await token_of(platform, platform.workspace_id)
        yield Rest(app, client, platform, log_store, token, platform.workspace_id)


@asynccontextmanager
async def served(app: Litestar) -> AsyncIterator[str]:
    """The application behind the web server that the platform uses, in this process; yields its URL."""
    port = free_port()
    server = Server(
        Envelope(app, VERSION), address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False
    )
    serving = asyncio.create_task(server.serve())
    url = f"http://127.0.0.1:{port}"
    async with AsyncClient(base_url=url) as client, asyncio.timeout(20):
        while not await _answers(client):
            await asyncio.sleep(0.02)
    yield url
    server.stop()
    await serving


async def _answers(client: AsyncClient) -> bool:
    try:
        return (await client.get("/v1/version")).is_success
    except TransportError:
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def token_of(platform: Platform, workspace_id: UUID) -> str:
    """A fresh token of a workspace."""
    async with platform.database.transaction() as tx:
        return (await identity.create_token(tx, workspace_id, "tests")).text
