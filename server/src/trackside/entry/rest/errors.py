"""Errors as REST tells them. The only place that knows HTTP statuses."""

from dataclasses import dataclass
from typing import Any, cast

import structlog
from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from litestar.response import Response
from litestar.types import Scope
from psycopg.errors import DiskFull
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from trackside.kit.errors import Kind, TracksideError
from trackside.kit.ids import new_id

log = structlog.get_logger()
STATUS = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.MISSING: 404,
    Kind.CONFLICT: 409,
    Kind.LIMIT: 429,
    Kind.UNAVAILABLE: 503,
}
BODY_BYTES = 16 << 20
"""Largest body of a request, uploads excepted."""
REFERENCE = "See the API reference at /v1/schema."


@dataclass(frozen=True)
class DoorError:
    """An error that no room knows of: the request never came as far."""

    code: str
    kind: str
    status: int
    sentence: str
    hint: str


INVALID = DoorError("rest.invalid", "invalid", 400, "The request is not understood.", REFERENCE)
MISSING = DoorError("rest.missing", "missing", 404, "There is nothing at this address.", REFERENCE)
METHOD_REFUSED = DoorError(
    "rest.method_refused",
    "invalid",
    405,
    "This address does not take this method.",
    "The header Allow names those it takes.",
)
TOO_LARGE = DoorError(
    "rest.too_large", "invalid", 413, f"The body is larger than {BODY_BYTES >> 20} MiB.",
    "Send less at once; sources go to the uploads of a service instance, as `trackside up` does.",
)  # fmt: skip
INTERNAL = DoorError(
    "internal", "internal", 500, "Something went wrong on our side.",
    "Try again; the platform's log has the details under this request id.",
)  # fmt: skip
DATABASE_AWAY = DoorError(
    "rest.database_away", "unavailable", 503, "The platform's database does not answer.",
    "Try again in a moment; look at `trackside server status` where it lasts. What serves goes on serving.",
)  # fmt: skip
DATABASE_FULL = DoorError(
    "rest.database_full", "unavailable", 503, "The disk of the platform's database is full.",
    "Make room on it: `trackside server doctor` names it. What serves goes on serving.",
)  # fmt: skip
DOOR_ERRORS = (INVALID, MISSING, METHOD_REFUSED, TOO_LARGE, INTERNAL, DATABASE_AWAY, DATABASE_FULL)


def of_status(status: int) -> DoorError:
    """What we call what the web framework calls by a status."""
    if status >= 500:
        return INTERNAL
    return next((error for error in DOOR_ERRORS if error.status == status), INVALID)


def request_id(scope: Scope) -> str:
    """What names the request: in its answer's header, in its error, and in the platform's log."""
    return scope.setdefault("state", {}).setdefault("request_id", new_id().hex)


def body_of(scope: Scope, error: DoorError, sentence: str = "") -> dict[str, dict[str, str]]:
    """The one shape of all errors."""
    scope.setdefault("state", {})["is_told"] = True
    return {
        "error": {
            "code": error.code,
            "kind": error.kind,
            "message": sentence or error.sentence,
            "hint": error.hint,
            "request_id": request_id(scope),
        }
    }


def is_told(scope: Scope) -> bool:
    """Whether the answer that is being sent is an error in our shape."""
    return bool(scope.get("state", {}).get("is_told"))


def told(request: Request[Any, Any, Any], error: TracksideError) -> Response[Any]:
    """An error of ours."""
    status = STATUS[error.kind]
    as_told = DoorError(error.code, str(error.kind), status, error.sentence, error.hint)
    return Response(body_of(request.scope, as_told), status_code=status)


def refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the web framework refuses: unknown routes, bodies that are too large or do not fit."""
    found = of_status(error.status_code)
    if found is INTERNAL:
        return unexpected(request, error)
    sentence = f"The request is not understood: {_detail(error)}" if found is INVALID else ""
    allow = {key: value for key, value in (error.headers or {}).items() if key.lower() == "allow"}
    return Response(body_of(request.scope, found, sentence), status_code=found.status, headers=allow)


def too_deep(request: Request[Any, Any, Any], _: RecursionError) -> Response[Any]:
    """A body nested so deep that it cannot be read."""
    return refused(request, ClientException("it is nested too deep."))


def _detail(error: HTTPException) -> str:
    extra = getattr(error, "extra", None)
    if not isinstance(extra, list) or not extra:
        return error.detail
    given = cast(list[dict[str, Any]], extra)
    return "; ".join(f"{part.get('key', 'body')}: {part.get('message', '')}" for part in given)


def unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A defect of ours: told without its inside, logged with it."""
    log_defect(request.scope, error)
    return Response(body_of(request.scope, INTERNAL), status_code=INTERNAL.status)


def without_database(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The database is away, restarts, hangs, or can't write."""
    found = DATABASE_FULL if isinstance(getattr(error, "orig", None), DiskFull) else DATABASE_AWAY
    log.warning("the database failed a request", path=request.scope.get("path"), error=str(error).partition("\n")[0])
    return Response(body_of(request.scope, found), status_code=found.status)


def log_defect(scope: Scope, error: Exception) -> None:
    """Keep a defect's inside where only the operator looks."""
    log.error("a request failed", path=scope.get("path"), request_id=request_id(scope), exc_info=error)


HANDLERS = {
    TracksideError: told,
    HTTPException: refused,
    RecursionError: too_deep,
    **dict.fromkeys((OperationalError, InterfaceError, PoolTimeout), without_database),
    Exception: unexpected,
}
