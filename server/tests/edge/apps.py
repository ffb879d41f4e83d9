"""Tiny apps for the edge to serve: each a replica on a loopback address of its own, answering with its name."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import count
from typing import Self
from uuid import UUID

from trackside.kit.ids import new_id
from trackside.rooms.networking.model import Server

_addresses = count(1)
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def fresh_address() -> IPv4Address:
    """A loopback address that no other test uses; tests run side by side in processes that were started together."""
    return IPv4Address(f"127.{10 + os.getpid() % 180}.0.0") + next(_addresses)


@dataclass
class Seen:
    """A request as the app got it."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class App:
    """Answers every request with its name. Paths: `/slow/<seconds>`, `/stream/<events>`, `/hang-up`, `/headers`.

    `healthy` decides the status of `/health`. `die` ends it as SIGKILL would: every socket is gone at once.
    """

    def __init__(self, name: str = "app", address: IPv4Address | None = None, port: int = 8080) -> None:
        self.name = name
        self.id: UUID = new_id()
        self.address = address or fresh_address()
        self.port = port
        self.healthy: Callable[[], bool] = lambda: True
        self.seen: list[Seen] = []
        self.open = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def server(self, *, is_leaving: bool = False) -> Server:
        """As the edge is told of it."""
        return Server(self.id, self.address, self.port, is_leaving)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, str(self.address), self.port, backlog=1024)

    async def die(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            with contextlib.suppress(OSError):  # it may have ended by itself just now
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, EOFError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        path = path.partition("?")[0]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        seen = Seen(method, path, headers, body)
        self.seen.append(seen)
        self.open += 1
        try:
            return await self._answer(seen, writer)
        finally:
            self.open -= 1

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        status, text = 200, self.name
        if seen.path.startswith("/slow/"):
            await asyncio.sleep(float(seen.path.removeprefix("/slow/")))
        elif seen.path.startswith("/stream/"):
            return await self._stream(int(seen.path.removeprefix("/stream/")), writer)
        elif seen.path == "/hang-up":
            writer.transport.abort()
            return False
        elif seen.path == "/health" and not self.healthy():
            status, text = 503, "db not ready"
        elif seen.path == "/headers":
            text = "\n".join(f"{name}: {value}" for name, value in sorted(seen.headers.items()))
        elif seen.path == "/teapot":
            status, text = 418, "short and stout"
        content = b"" if seen.method == "HEAD" else text.encode()
        writer.write(f"HTTP/1.1 {status} Said\r\nContent-Length: {len(text.encode())}\r\n\r\n".encode() + content)
        await writer.drain()
        return True

    async def _stream(self, events: int, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(events):
            data = f"data: {self.name} {number}\n\n".encode()
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True
