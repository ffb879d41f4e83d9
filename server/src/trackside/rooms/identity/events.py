"""Facts about workspaces and tokens; kept in the platform's stream."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from trackside.kit.events import Event, StreamName


@dataclass(frozen=True)
class WorkspaceCreated(Event):
    stream: ClassVar[StreamName] = "platform"
    workspace_id: UUID
    name: str


@dataclass(frozen=True)
class TokenCreated(Event):
    stream: ClassVar[StreamName] = "platform"
    token_id: UUID
    workspace_id: UUID
    name: str
    prefix: str


@dataclass(frozen=True)
class TokenRevoked(Event):
    """The token is refused from now on, and forgotten by the read models."""

    stream: ClassVar[StreamName] = "platform"
    token_id: UUID
    workspace_id: UUID
