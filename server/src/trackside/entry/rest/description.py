"""The OpenAPI description: what the framework finds out by itself, and what every answer of ours has besides."""

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import (
    Components,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    PathItem,
    Reference,
    Schema,
)

from trackside.entry.rest.errors import STATUS
from trackside.kit.errors import Kind
from trackside.rooms.projects.rest import service_config

SENTENCES = {
    Kind.INVALID: "The request is not valid; nothing was changed.",
    Kind.UNAUTHENTICATED: "No token, or one that is not valid here.",
    Kind.DENIED: "You see it, but your role does not allow this.",
    Kind.MISSING: "It does not exist, or you may not see it.",
    Kind.CONFLICT: "The present state does not allow it.",
    Kind.LIMIT: "A limit was reached.",
    Kind.UNAVAILABLE: "A part of the platform does not answer; try again.",
}
ALWAYS = (Kind.UNAVAILABLE,)
SIGNED_IN = (Kind.UNAUTHENTICATED, Kind.DENIED)
METHODS = ("get", "post", "patch", "put", "delete")
HEADERS = {
    "Trackside-Version": "The server's version.",
    "X-Request-Id": "Names the request in the platform's log.",
}


def operation_id(handler: HTTPRouteHandler, *_: object) -> str:
    """The handler's own name; every handler has a different one."""
    return handler.handler_name


def describe(app: Litestar) -> None:
    """Complete the description of an application that was just made."""
    document = app.openapi_schema
    components = document.components or Components()
    components.schemas["Error"] = _error_schema()
    components.schemas["ServiceConfig"] = service_config()
    components.responses = {str(kind): _error_response(kind) for kind in Kind}
    for path, item in (document.paths or {}).items():
        for operation in operations(item):
            _complete(operation, has_id="{" in path)


def operations(item: PathItem) -> list[Operation]:
    """The operations of a path."""
    return [operation for method in METHODS if (operation := getattr(item, method)) is not None]


def _complete(operation: Operation, *, has_id: bool) -> None:
    operation.summary = (operation.operation_id or "").replace("_", " ").capitalize()
    is_open = operation.security is not None
    responses = operation.responses if operation.responses is not None else {}
    responses.pop("400", None)
    for response in responses.values():
        if isinstance(response, OpenAPIResponse):
            response.headers = {name: _header(text) for name, text in HEADERS.items()}
    for kind in _kinds(operation, has_id=has_id, is_open=is_open):
        responses[str(STATUS[kind])] = Reference(ref=f"#/components/responses/{kind}")
    operation.responses = responses


def _kinds(operation: Operation, *, has_id: bool, is_open: bool) -> list[Kind]:
    """What can go wrong with an operation."""
    takes = bool(operation.parameters or operation.request_body)
    changes = operation.request_body is not None or set(operation.responses or {}) & {"201", "202"}
    return [
        *((Kind.INVALID,) if takes else ()),
        *(() if is_open else SIGNED_IN),
        *((Kind.MISSING,) if has_id else ()),
        *((Kind.CONFLICT, Kind.LIMIT) if changes else ()),
        *ALWAYS,
    ]


def _header(text: str) -> OpenAPIHeader:
    return OpenAPIHeader(description=text, schema=Schema(type=OpenAPIType.STRING))


def _error_response(kind: Kind) -> OpenAPIResponse:
    content = {"application/json": OpenAPIMediaType(schema=Reference(ref="#/components/schemas/Error"))}
    return OpenAPIResponse(description=SENTENCES[kind], content=content)


def _error_schema() -> Schema:
    """The one shape of all errors; see `errors.error_response`."""
    texts = {
        "code": "Stable and dotted, for programs.",
        "kind": "What sort of error it is; decides the status.",
        "message": "One sentence.",
        "hint": "What mends it.",
        "request_id": "Names the request in the platform's log.",
    }
    error = Schema(
        type=OpenAPIType.OBJECT,
        properties={key: Schema(type=OpenAPIType.STRING, description=text) for key, text in texts.items()},
        required=list(texts),
    )
    error.properties["kind"] = Schema(  # type: ignore[index]
        type=OpenAPIType.STRING, description=texts["kind"], enum=[*map(str, Kind), "internal"]
    )
    return Schema(type=OpenAPIType.OBJECT, properties={"error": error}, required=["error"])
