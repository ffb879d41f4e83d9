"""One HTTP connection to the API: sends requests, turns failures into our errors, reports the server's version."""

import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from trackside_cli.errors import ApiError, UnexpectedAnswer, Unreachable, UsageError

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
UPLOAD_SECONDS = 300.0
FOLLOW_SECONDS = 75.0  # a followed log sends a blank line at least this often

NOBODY_HINT = (
    "Is the platform running? On its machine: `make demo` or `trackside server start`. "
    "Elsewhere: check TRACKSIDE_API_URL."
)
KIND_BY_STATUS = {
    400: "invalid",
    401: "unauthenticated",
    403: "denied",
    404: "missing",
    409: "conflict",
    413: "invalid",
    429: "limit",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


Asked = str | int | bool | list[str] | None
"""A query parameter; a list is one that comes several times, None one that does not come."""


class Transport:
    """Requests to one API with one token. `on_version` gets the server's version with every answer."""

    def __init__(self, api_url: str, token: str | None, *, agent: str, on_version: Callable[[str], None]) -> None:
        headers = {"User-Agent": agent, "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._api_url = api_url
        self._on_version = on_version
        try:
            self._client = httpx.Client(
                base_url=api_url,
                headers=headers,
                verify=_certificates(api_url),
                trust_env=not _is_loopback(api_url),  # a company's proxy can't reach this machine's own loopback
                timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            )
        except httpx.InvalidURL as error:
            raise UsageError(f"“{api_url}” is not an address: {error}.", hint="Check TRACKSIDE_API_URL.") from error

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **query: Asked) -> dict[str, Any]:
        return self._answer(lambda: self._client.get(path, params=_present(query)))

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._answer(lambda: self._client.request(method, path, json=body))

    def upload(self, path: str, chunks: Iterable[bytes]) -> dict[str, Any]:
        """POST a stream of bytes without holding it in memory."""
        timeout = httpx.Timeout(UPLOAD_SECONDS, connect=CONNECT_SECONDS)
        headers = {"Content-Type": "application/gzip"}
        return self._answer(lambda: self._client.post(path, content=chunks, headers=headers, timeout=timeout))

    def follow(self, path: str, **query: Asked) -> Iterator[dict[str, Any] | None]:
        """The objects of an NDJSON stream as they come; None for a keep-alive. Ends when the server ends it."""
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=FOLLOW_SECONDS)
        try:
            with self._client.stream("GET", path, params=_present(query), timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                self._check(response)
                for line in _lines(response.iter_bytes()):
                    yield self._object(line) if line.strip() else None
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _answer(self, request: Callable[[], httpx.Response]) -> dict[str, Any]:
        try:
            response = request()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        self._check(response)
        return {} if response.content in (b"", b"null") else self._object(response.content)

    def _check(self, response: httpx.Response) -> None:
        if version := response.headers.get("Trackside-Version"):
            self._on_version(version)
        if response.is_success:
            return
        if response.is_redirect:
            raise UnexpectedAnswer(
                f"{self._api_url} leads on to {response.headers.get('Location', 'nowhere')}.",
                hint="Set TRACKSIDE_API_URL to the final address; a token is never sent on.",
            )
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> ApiError | UnexpectedAnswer:
        kind = KIND_BY_STATUS.get(response.status_code, "")
        try:
            told: dict[str, Any] = response.json()["error"]
            return ApiError(
                str(told.get("kind") or kind),
                str(told["message"]),
                code=str(told["code"]),
                hint=str(told.get("hint") or ""),
                request_id=str(told.get("request_id") or response.headers.get("X-Request-Id", "")),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            sentence = f"{self._api_url} answered with status {response.status_code} and no explanation."
            if kind == "unavailable":
                return ApiError(kind, sentence, code="cli.unavailable", hint=NOBODY_HINT)
            return self._stranger(sentence)

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            found: Any = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._stranger(f"{self._api_url} answered with something that is not a JSON object.")
        return cast(dict[str, Any], found)

    def _stranger(self, sentence: str) -> UnexpectedAnswer:
        return UnexpectedAnswer(sentence, hint="Is this the address of a Trackside API? Check TRACKSIDE_API_URL.")

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
            sentence = f"Nobody answers at {self._api_url} ({_detail(error)})."
            return Unreachable(sentence, was_sent=False, hint=NOBODY_HINT)
        sentence = f"The connection to {self._api_url} broke before the answer came ({_detail(error)})."
        return Unreachable(sentence, was_sent=True, hint="Look with `trackside status` before you try again.")


def _detail(error: httpx.HTTPError) -> str:
    return str(error).strip() or type(error).__name__


def _present(query: dict[str, Asked]) -> dict[str, str | int | list[str]]:
    """The parameters that are set, booleans in the API's spelling; false is the API's default and left out."""
    return {
        name: "true" if value is True else value
        for name, value in query.items()
        if value is not None and value is not False
    }


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Split at newlines only: other separators that Unicode knows may stand inside a JSON string.

    What has no newline at its end is half a line, left over by a connection that broke.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _certificates(api_url: str) -> ssl.SSLContext:
    """The system's authorities (a company's own too); for plain HTTP an empty context, as loading takes time."""
    if api_url.startswith("https:"):
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_loopback(api_url: str) -> bool:
    host = urlsplit(api_url).hostname or ""
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")
