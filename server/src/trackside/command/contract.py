"""`python -m trackside contract`: writes what clients know of the server into `contract/`. Needs no database and no root."""

import json
from argparse import ArgumentParser, Namespace
from dataclasses import fields
from inspect import cleandoc
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from litestar import Litestar

from trackside import bootstrap
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.adapters.objects.folder import UploadFolder
from trackside.command.printing import say
from trackside.entry.rest.app import RestParts, create_app
from trackside.kit.clock import SystemClock
from trackside.kit.crypto import Keyring
from trackside.kit.db import Database
from trackside.rooms.access.model import ROLES, Permission
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects.service import Vault

DIRECTORY = Path(__file__).parents[4] / "contract"


def add_commands(parser: ArgumentParser) -> None:
    """The one option of `contract`."""
    parser.add_argument("--into", type=Path, default=DIRECTORY, metavar="DIR", help="where to write")
    parser.set_defaults(run=_run)


def _run(arguments: Namespace) -> int:
    arguments.into.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (arguments.into / name).write_text(text)
        say(f"wrote {name}")
    return 0


def documents() -> dict[str, str]:
    """Every file of the contract: name → text."""
    contents = {"openapi.json": openapi(), "events.json": events(), "permissions.json": permissions()}
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in contents.items()}


def openapi() -> dict[str, Any]:
    """The REST API."""
    return described_app().openapi_schema.to_schema()


def described_app() -> Litestar:
    """The REST application with parts that are never used: it is described, not run."""
    return create_app(
        RestParts(
            database=Database("postgresql://localhost/none", SystemClock()),
            vault=Vault(Keyring("none", {})),
            addressing=Addressing("localhost", IPv4Network("10.0.0.0/16")),
            log_store=MemoryLogStore(),
            uploads=UploadFolder(Path("none"), 0),
            public="http://{host}",
            version=bootstrap.VERSION,
            kept_images=0,
        )
    )


def event_types() -> list[type[Any]]:
    """Every event that a room records, by name."""
    return sorted((kind for room in bootstrap.ROOMS for kind in room.PROJECTIONS), key=lambda kind: kind.__name__)


def events() -> dict[str, Any]:
    """Each event type: where it is kept, which shape of its data this is, and its fields as JSON Schema."""
    return {kind.__name__: _event(kind) for kind in event_types()}


def _event(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {
        "stream": kind.stream,
        "version": kind.version,
        "description": described(kind),
        "fields": {field.name: msgspec.json.schema(hints[field.name]) for field in fields(kind)},
    }


def described(kind: type[Any]) -> str:
    """A class's own docstring; not the one that a dataclass is given."""
    text = cleandoc(kind.__doc__ or "")
    return "" if text.startswith(f"{kind.__name__}(") else text


def permissions() -> dict[str, Any]:
    """The role table."""
    return {
        "permissions": [str(permission) for permission in Permission],
        "roles": {str(role): sorted(map(str, granted)) for role, granted in ROLES.items()},
    }
