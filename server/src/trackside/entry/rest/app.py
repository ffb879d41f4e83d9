"""The REST application: routes, injected parts, and the OpenAPI description."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Litestar, Router, get
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from trackside.entry.rest.description import describe, operation_id
from trackside.entry.rest.envelope import Envelope
from trackside.entry.rest.errors import BODY_BYTES, HANDLERS
from trackside.entry.rest.transaction import provide_actor, provide_transaction
from trackside.kit.db import Database
from trackside.rooms.access.model import Actor
from trackside.rooms.audit.rest import router as audit
from trackside.rooms.builds.ports import Uploads
from trackside.rooms.deployments.rest import router as deployments
from trackside.rooms.identity.rest import router as identity
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects.rest import router as projects
from trackside.rooms.projects.service import Vault
from trackside.rooms.telemetry.ports import LogStore
from trackside.rooms.telemetry.rest import router as telemetry

INJECTED = (
    "database", "vault", "addressing", "log_store", "uploads", "public", "kept_images", "allow_engine_images"
)  # fmt: skip
ROUTERS: Sequence[Router] = (identity, projects, deployments, telemetry, audit)


@dataclass(frozen=True)
class RestParts:
    """What handlers may ask for by name. `public`: an app's address, with `{host}` for its host name."""

    database: Database
    vault: Vault
    addressing: Addressing
    log_store: LogStore
    uploads: Uploads
    public: str
    version: str
    kept_images: int
    allow_engine_images: bool = False


class Version(msgspec.Struct):
    version: str


def create_door(parts: RestParts) -> Envelope:
    """What is served."""
    return Envelope(create_app(parts), parts.version)  # pyright: ignore[reportArgumentType]


def create_app(parts: RestParts, actor_of: Callable[..., Awaitable[Actor]] = provide_actor) -> Litestar:
    """The application inside. `actor_of` finds out who asks."""

    @get("/v1/version", tags=["platform"], security=[{}])
    async def read_version() -> Version:
        """The server's version; needs no token."""
        return Version(parts.version)

    app = Litestar(
        route_handlers=[read_version, *ROUTERS],
        dependencies={
            **{name: Provide(_given(getattr(parts, name)), sync_to_thread=False) for name in INJECTED},
            "actor": Provide(actor_of),
            "tx": Provide(provide_transaction),
        },
        exception_handlers=HANDLERS,  # pyright: ignore[reportArgumentType]
        openapi_config=OpenAPIConfig(
            title="Trackside",
            version=parts.version,
            path="/v1/schema",
            render_plugins=[JsonRenderPlugin()],  # no page: those of the framework load scripts from elsewhere
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"token": []}],
            use_handler_docstrings=True,
            operation_id_creator=operation_id,
        ),
        signature_namespace={"Uploads": Uploads, "LogStore": LogStore, "Vault": Vault},
        request_max_body_size=BODY_BYTES,
    )
    describe(app)
    return app


def _given(value: Any) -> Callable[[], Any]:
    def give() -> Any:
        return value

    return give
