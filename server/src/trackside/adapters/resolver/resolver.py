"""Port `Resolver`: listens on the first address of every environment's network, and on that of builds."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

import dns.rcode
import structlog

from trackside.adapters.resolver.answers import Zone, answer, fitting, refused, zone_of
from trackside.adapters.resolver.limits import Outstanding, RateLimit
from trackside.adapters.resolver.upstream import Nameservers, Upstream
from trackside.rooms.networking.model import Name

log = structlog.get_logger()

IP_FREEBIND = 15
TCP_IDLE_SECONDS = 10.0
TCP_CONNECTIONS = 64
"""Per listening address."""


@dataclass(frozen=True)
class ResolverOptions:
    """`outside_only`: addresses that answer outside names to anybody (the bridge of builds)."""

    port: int = 53
    outside_only: tuple[IPv4Address, ...] = ()


class DnsResolver:
    """The resolver of all environments."""

    def __init__(
        self, options: ResolverOptions, nameservers: Nameservers, outstanding: Outstanding | None = None
    ) -> None:
        self._options = options
        self._upstream = Upstream(nameservers)
        self._limit = RateLimit()
        self._outstanding = outstanding or Outstanding()
        self._listeners: dict[IPv4Address, Listener] = {}
        self._failed: set[IPv4Address] = set()

    async def serve(self, names: Sequence[Name], networks: Sequence[IPv4Network]) -> None:
        zones = {address: Zone(None) for address in self._options.outside_only}
        zones |= {network.network_address + 1: zone_of(network, names) for network in networks}
        for address in [key for key in self._listeners if key not in zones]:
            await self._listeners.pop(address).stop()
        for address, zone in zones.items():
            if address in self._listeners:
                self._listeners[address].zone = zone
            else:
                await self._listen(address, zone)

    async def _listen(self, address: IPv4Address, zone: Zone) -> None:
        listener = Listener(zone, self._upstream, self._limit, self._outstanding)
        try:
            await listener.start(address, self._options.port)
        except OSError as error:
            if address not in self._failed:
                log.error("edge.resolver_cannot_listen", address=str(address), error=str(error))
            self._failed.add(address)
            return
        self._failed.discard(address)
        self._listeners[address] = listener

    async def stop(self) -> None:
        """Answer nothing any more."""
        await self.serve((), ())
        for address in list(self._listeners):
            await self._listeners.pop(address).stop()


class Listener(asyncio.DatagramProtocol):
    """One listening address, UDP and TCP."""

    def __init__(self, zone: Zone, upstream: Upstream, limit: RateLimit, outstanding: Outstanding) -> None:
        self.zone = zone
        self._upstream = upstream
        self._limit = limit
        self._outstanding = outstanding
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def start(self, address: IPv4Address, port: int) -> None:
        """Errors: OSError. The address need not exist yet: its bridge comes with the first container."""
        loop = asyncio.get_running_loop()
        udp = _bound(address, port, socket.SOCK_DGRAM)
        try:
            tcp = _bound(address, port, socket.SOCK_STREAM)
        except OSError:
            udp.close()
            raise
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, sock=udp)
        self._tcp = await asyncio.start_server(self._converse, sock=tcp)

    async def stop(self) -> None:
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- UDP ---

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        client = IPv4Address(addr[0])
        if not self._limit.allows(client, asyncio.get_running_loop().time()):
            return self._send(refused(data, dns.rcode.REFUSED), addr)
        said = answer(self.zone, client, data)
        if said is not None:
            return self._send(fitting(data, said), addr)
        if not self._outstanding.begin(client):
            return self._send(refused(data, dns.rcode.SERVFAIL), addr)
        task = asyncio.create_task(self._pass_on(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._outstanding.end(client))
        return None

    async def _pass_on(self, question: bytes, addr: tuple[str, int]) -> None:
        said = await self._upstream.ask(question, over_tcp=False)
        self._send(said or refused(question, dns.rcode.SERVFAIL), addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if data and self._udp and not self._udp.is_closing():
            self._udp.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        """A client that went before its answer came: nobody to tell."""

    # --- TCP ---

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._connections += 1
        try:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                while self._connections <= TCP_CONNECTIONS:
                    await self._exchange(reader, writer)
        finally:
            self._connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(TCP_IDLE_SECONDS):
            question = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        said = await self._answer_over_tcp(question, IPv4Address(writer.get_extra_info("peername")[0]))
        if not said:
            raise EOFError
        writer.write(len(said).to_bytes(2, "big") + said)
        await writer.drain()

    async def _answer_over_tcp(self, question: bytes, client: IPv4Address) -> bytes:
        if not self._limit.allows(client, asyncio.get_running_loop().time()):
            return refused(question, dns.rcode.REFUSED)
        said = answer(self.zone, client, question)
        if said is None and self._outstanding.begin(client):
            try:
                said = await self._upstream.ask(question, over_tcp=True)
            finally:
                self._outstanding.end(client)
        return said if said is not None else refused(question, dns.rcode.SERVFAIL)


def _bound(address: IPv4Address, port: int, kind: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, kind)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((str(address), port))
    except OSError:
        bound.close()
        raise
    return bound
