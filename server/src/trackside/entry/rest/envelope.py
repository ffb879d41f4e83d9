"""Around the web framework: what every answer carries, also where the framework answers by itself, or breaks."""

import msgspec
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

from trackside.entry.rest import errors
from trackside.entry.rest.errors import INTERNAL, DoorError


class Envelope:
    """An ASGI application around another: each answer names the server's version and the request, each error has our shape."""

    def __init__(self, app: ASGIApp, version: str) -> None:
        self._app = app
        self._version = version.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = Answer(scope, send, self._version)
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            errors.log_defect(scope, error)
            if answer.has_begun:
                raise  # the server cuts the connection, so that half an answer is not taken for a whole one
            await answer.tell(INTERNAL)


class Answer:
    """The answer to one request, on its way out. Its beginning waits for its first part: until then it can still fail."""

    def __init__(self, scope: Scope, send: Send, version: bytes) -> None:
        self._scope = scope
        self._send = send
        self._version = version
        self._beginning: HTTPResponseStartEvent | None = None
        self._is_replaced = False
        self.has_begun = False

    async def send(self, message: Message) -> None:
        """Send on; what the framework says of an error by itself is replaced by our own words."""
        if self._is_replaced:
            return
        if message["type"] == "http.response.start":
            await self._begin(message)
            return
        if self._beginning is not None:
            beginning, self._beginning = self._beginning, None
            self.has_begun = True
            await self._send(beginning)
        await self._send(message)

    async def _begin(self, message: HTTPResponseStartEvent) -> None:
        if message["status"] >= 400 and not errors.is_told(self._scope):
            self._is_replaced = True
            await self.tell(errors.of_status(message["status"]))
            return
        message["headers"] = [*message["headers"], *self._headers()]
        self._beginning = message

    async def tell(self, error: DoorError) -> None:
        """Send an error, whole."""
        body = msgspec.json.encode(errors.body_of(self._scope, error))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *self._headers(),
        ]
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
        is_head = self._scope.get("method") == "HEAD"
        await self._send({"type": "http.response.body", "body": b"" if is_head else body, "more_body": False})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"trackside-version", self._version), (b"x-request-id", errors.request_id(self._scope).encode())]
