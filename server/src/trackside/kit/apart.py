"""Work for many workspaces, one after the other: the fault of one is logged and stops nothing else."""

from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError

from trackside.kit.errors import Kind, TracksideError

log = structlog.get_logger()


@contextmanager
def apart(work: str, workspace_id: UUID, **more: str) -> Generator[None]:
    """Leave the workspace out of some work where it breaks off for a fault of its own, say a record that can't be read.

    `more`: what of it, for the log.
    """
    try:
        yield
    except Exception as error:
        if is_everybodys(error):
            raise
        tell_left_out(work, workspace_id, error, **more)


def is_everybodys(error: Exception) -> bool:
    """Whether it is the database, an engine or a disk that is away: the next workspace would meet with the same."""
    if isinstance(error, TracksideError):
        return error.kind is Kind.UNAVAILABLE
    return isinstance(error, OperationalError | InterfaceError | TimeoutError | OSError)


def tell_left_out(work: str, workspace_id: UUID, error: Exception, **more: str) -> None:
    """For the log: what was not done for whom."""
    log.error("a workspace is left out", work=work, workspace=str(workspace_id), error=repr(error), **more)
