"""Errors as REST tells them. The only place that knows HTTP statuses."""

from typing import Any, cast

import structlog
from litestar import Request
from litestar.exceptions import ClientException, HTTPException
from litestar.response import Response
from litestar.types import Scope

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


def request_id(scope: Scope) -> str:
    """What names the request: in its answer's header, in its error, and in the platform's log."""
    return scope.setdefault("state", {}).setdefault("request_id", new_id().hex)


def error_response(request: Request[Any, Any, Any], status: int, error: dict[str, str]) -> Response[Any]:
    """The one shape of all errors."""
    return Response({"error": {**error, "request_id": request_id(request.scope)}}, status_code=status)


def told(request: Request[Any, Any, Any], error: TracksideError) -> Response[Any]:
    """An error of ours."""
    return error_response(
        request,
        STATUS[error.kind],
        {"code": error.code, "kind": str(error.kind), "message": error.sentence, "hint": error.hint},
    )


def refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the web framework refuses: unknown routes, bodies that are too large or do not fit."""
    if error.status_code >= 500:
        return unexpected(request, error)
    code, kind, message = "rest.invalid", Kind.INVALID, f"The request is not understood: {_detail(error)}"
    if error.status_code in (404, 405):
        code, kind, message = "rest.missing", Kind.MISSING, "There is nothing at this address."
    elif error.status_code == 413:
        code, message = "rest.too_large", f"The body is larger than {BODY_BYTES >> 20} MiB."
    return error_response(
        request, STATUS[kind], {"code": code, "kind": str(kind), "message": message, "hint": REFERENCE}
    )


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
    log.error("a request failed", path=request.url.path, request_id=request_id(request.scope), exc_info=error)
    return error_response(
        request,
        500,
        {
            "code": "internal",
            "kind": "internal",
            "message": "Something went wrong on our side.",
            "hint": "Try again; the platform's log has the details under this request id.",
        },
    )


HANDLERS = {TracksideError: told, HTTPException: refused, RecursionError: too_deep, Exception: unexpected}
