"""Values of the telemetry room."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class LogKind(StrEnum):
    DEPLOY = "deploy"
    BUILD = "build"
    HTTP = "http"


@dataclass(frozen=True)
class Stream:
    """Whose log: `owner` is the deployment (deploy, build) or the service instance (http)."""

    workspace_id: UUID
    kind: LogKind
    owner: UUID


@dataclass(slots=True)
class Line:
    """One line. `seq` is given by the store: ascending within the stream, never reused. Never changed; not frozen,
    for there are very many of them, and to make a frozen one takes three times as long.
    """

    at: datetime
    message: str
    level: str = "info"
    replica_id: UUID | None = None
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    seq: int = 0


@dataclass(frozen=True)
class LogQuery:
    """Which lines of a stream: seq > after, `since <= at <= until`; of these the first `limit`, or with `newest` the last.

    Followed, `newest` means the last `limit`, then all that come; without it following ends after `limit` lines.
    """

    after: int = 0
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None
    newest: bool = False

    def takes(self, line: Line) -> bool:
        """Whether a line that is followed is wanted."""
        return (self.since is None or line.at >= self.since) and (self.until is None or line.at <= self.until)
