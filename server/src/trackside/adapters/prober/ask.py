"""One probe of one replica: a question, and the answer as a sentence for people."""

import asyncio
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from trackside.rooms.networking.model import Probe, ProbeKind, Protocol, Server

HOST = "healthcheck.railway.app"
"""The host name that Railway's health checks carry; apps that check host names allow it."""
SHOWN_BYTES = 120
HEAD_BYTES = 64 << 10


@dataclass(frozen=True)
class Answer:
    """What a replica said. `detail` is a sentence without its end."""

    is_good: bool
    detail: str


async def ask(server: Server, probe: Probe, protocol: Protocol) -> Answer:
    """Probe once, within the probe's timeout."""
    try:
        async with asyncio.timeout(probe.timeout):
            return await _ask(server, probe, protocol)
    except TimeoutError:
        return Answer(False, f"no answer within {probe.timeout:g} s")
    except ConnectionRefusedError:
        return Answer(False, f"connection refused on port {server.port}")
    except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
        return Answer(False, "the app closed the connection without an answer")
    except OSError as error:
        return Answer(False, f"not reachable on port {server.port}: {error.strerror or error}")
    except (ValueError, asyncio.LimitOverrunError, h2.exceptions.ProtocolError):
        return Answer(False, f"the app's answer on port {server.port} is not HTTP")


async def _ask(server: Server, probe: Probe, protocol: Protocol) -> Answer:
    reader, writer = await asyncio.open_connection(str(server.address), server.port, limit=HEAD_BYTES)
    try:
        if probe.kind is ProbeKind.TCP:
            return Answer(True, f"accepts connections on port {server.port}")
        exchange = _http2 if protocol is Protocol.H2C else _http1
        status, start = await exchange(reader, writer, probe.path)
        return Answer(status == 200, f"HTTP {status}{_shown(start) if status != 200 else ''}")
    finally:
        writer.close()


def _shown(start: bytes) -> str:
    text = " ".join(start.decode(errors="replace").split())[:SHOWN_BYTES]
    return f': "{text}"' if text else ""


async def _http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
    """Status and first bytes of the body. Errors: ValueError for what is no HTTP."""
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: trackside-prober\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, status, *_ = head[0].split(" ", 2)
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    if int(status) == 200:
        return 200, b""
    if any(line.lower().replace(" ", "") == "transfer-encoding:chunked" for line in head):
        await reader.readuntil(b"\r\n")
        return int(status), (await reader.read(SHOWN_BYTES)).partition(b"\r\n")[0]
    return int(status), await reader.read(SHOWN_BYTES)


async def _http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
    """Status and first bytes of the body, by prior knowledge. Errors: ValueError, h2's `ProtocolError`."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", path)]
    connection.send_headers(1, [*fields, ("user-agent", "trackside-prober")], end_stream=True)
    writer.write(connection.data_to_send())
    status = 0
    while data := await reader.read(HEAD_BYTES):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                status = int(next(value for name, value in event.headers if _text(name) == ":status"))
            if isinstance(event, h2.events.DataReceived) and status:
                return status, event.data
            if isinstance(event, h2.events.StreamEnded) or (status == 200):
                return status, b""
        writer.write(connection.data_to_send())
    raise ConnectionResetError


def _text(field: bytes | str) -> str:
    """A header field as text, whichever of the two the library gives."""
    return field.decode() if isinstance(field, bytes) else field
