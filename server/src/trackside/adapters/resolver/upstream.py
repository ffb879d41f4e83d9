"""Outside resolvers: a question is passed on byte for byte under an id of our own, so EDNS goes through as it is."""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path

PORT = 53
TRY_SECONDS = 2.0


class Nameservers:
    """The resolvers to ask: those given, else the machine's own, read again when its file changes."""

    def __init__(self, given: Sequence[str], file: Path = Path("/etc/resolv.conf")) -> None:
        self._given = tuple(given)
        self._file = file
        self._read: tuple[float, tuple[str, ...]] | None = None

    def now(self) -> tuple[str, ...]:
        """Addresses, `host` or `host:port`, in the order to try."""
        if self._given:
            return self._given
        try:
            changed = self._file.stat().st_mtime
            if self._read is None or self._read[0] != changed:
                self._read = (changed, nameservers(self._file.read_text()))
        except OSError:
            return self._read[1] if self._read else ()
        return self._read[1]


def nameservers(text: str) -> tuple[str, ...]:
    """The IPv4 servers of a resolv.conf."""
    lines = (line.split() for line in text.splitlines())
    return tuple(
        fields[1] for fields in lines if len(fields) > 1 and fields[0] == "nameserver" and ":" not in fields[1]
    )


def _place(server: str) -> tuple[str, int]:
    host, _, port = server.partition(":")
    return host, int(port or PORT)


class Upstream:
    """Passes questions on."""

    def __init__(self, servers: Nameservers) -> None:
        self._servers = servers

    async def ask(self, question: bytes, *, over_tcp: bool) -> bytes | None:
        """The first answer of any server, with the question's own id; None where none answers."""
        exchange = _over_tcp if over_tcp else _over_udp
        for server in self._servers.now():
            try:
                async with asyncio.timeout(TRY_SECONDS):
                    return question[:2] + (await exchange(server, secrets.token_bytes(2) + question[2:]))[2:]
            except (OSError, TimeoutError, EOFError):
                continue
        return None


class _Answer(asyncio.DatagramProtocol):
    """Takes the one datagram that answers; the kernel lets only the asked server through."""

    def __init__(self, id_: bytes) -> None:
        self._id = id_
        self.received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:2] == self._id and len(data) >= 12 and not self.received.done():
            self.received.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.received.done():
            self.received.set_exception(exc)


async def _over_udp(server: str, question: bytes) -> bytes:
    """Each question from a port of its own: an answer is hard to forge."""
    loop = asyncio.get_running_loop()
    transport, answer = await loop.create_datagram_endpoint(lambda: _Answer(question[:2]), remote_addr=_place(server))
    try:
        transport.sendto(question)
        return await answer.received
    finally:
        transport.close()


async def _over_tcp(server: str, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*_place(server))
    try:
        writer.write(len(question).to_bytes(2, "big") + question)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()
