"""Speaks with the supervisor over its socket: XML-RPC, the language it has."""

import asyncio
import xmlrpc.client
from pathlib import Path
from typing import Any


class SupervisorRpc:
    """Calls the supervisor. Errors: OSError where none listens, `xmlrpc.client.Fault` where it refuses, TimeoutError."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def call(self, method: str, *parameters: Any, seconds: float = 60) -> Any:
        """One call of its `supervisor` interface; what it answered."""
        body = xmlrpc.client.dumps(parameters, f"supervisor.{method}").encode()
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
            try:
                head = f"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
                answer = await reader.read()
            finally:
                writer.close()
        _, _, content = answer.partition(b"\r\n\r\n")
        values, _ = xmlrpc.client.loads(content)
        return values[0]
