"""Values of the identity room."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

DEFAULT_WORKSPACE = "default"


@dataclass(frozen=True)
class Workspace:
    """The tenant. Its data is a schema of its own."""

    id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True)
class Token:
    """What is known of a token; never its secret. `prefix` is its first characters, for recognising it."""

    id: UUID
    workspace_id: UUID
    name: str
    prefix: str
    created_at: datetime


@dataclass(frozen=True)
class NewToken:
    """A token that was just made, with its text, which is nowhere kept."""

    id: UUID
    name: str
    prefix: str
    text: str = field(repr=False)
