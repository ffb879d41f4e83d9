"""Speaks with the supervisor over its socket: XML-RPC, the language it has."""

import asyncio
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any


class SupervisorRpc:
    """Calls the supervisor. Errors: OSError where none listens, `xmlrpc.client.Fault` where it refuses, TimeoutError."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def call(self, method: str, *parameters: Any, seconds: float = 60) -> Any:
        """One call of its `supervisor` interface; what it answered."""
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
            try:
                writer.write(_request(method, parameters))
                await writer.drain()
                answer = await reader.read()
            finally:
                writer.close()
        return _value(answer)


def call_plainly(path: Path, method: str, *parameters: Any, seconds: float = 10) -> Any:
    """One call, for those who have no event loop. Errors: as above."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(_request(method, parameters))
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    return _value(answer)


def _request(method: str, parameters: tuple[Any, ...]) -> bytes:
    body = xmlrpc.client.dumps(parameters, f"supervisor.{method}").encode()
    head = f"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _value(answer: bytes) -> Any:
    _, _, content = answer.partition(b"\r\n\r\n")
    values, _ = xmlrpc.client.loads(content)
    return values[0]
