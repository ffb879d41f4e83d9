"""The resolver answers real questions over UDP and TCP, to each network its own names only."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from pathlib import Path
from typing import cast

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from edge.haproxy_process import free_port
from trackside.adapters.resolver.answers import Zone, answer, zone_of
from trackside.adapters.resolver.limits import Outstanding, RateLimit
from trackside.adapters.resolver.resolver import DnsResolver, ResolverOptions
from trackside.adapters.resolver.upstream import Nameservers, nameservers
from trackside.rooms.networking.model import Name

NETWORKS = count(1)
OUTSIDE = "93.184.216.34"


def fresh_network() -> IPv4Network:
    return IPv4Network(f"127.200.{next(NETWORKS)}.0/24")


class Outside(asyncio.DatagramProtocol):
    """An outside resolver: answers every A question with one address; `large.*` only over TCP; `silent.*` never."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[dns.message.Message] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if said := self._answer(data, over_tcp=False):
            self._transport.sendto(said, addr)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        said = self._answer(data, over_tcp=True)
        writer.write(len(said).to_bytes(2, "big") + said)
        writer.close()

    def _answer(self, data: bytes, *, over_tcp: bool) -> bytes:
        asked = dns.message.from_wire(data)
        self.asked.append(asked)
        name = asked.question[0].name
        if name.labels[0] == b"silent":
            return b""
        response = dns.message.make_response(asked)
        if name.labels[0] == b"large" and not over_tcp:
            response.flags |= dns.flags.TC
        else:
            response.answer = [dns.rrset.from_text(name, 60, "IN", "A", OUTSIDE)]
        return response.to_wire()


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    outside = Outside()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: outside, local_addr=("127.0.0.1", outside.port))
    async with await asyncio.start_server(outside.converse, "127.0.0.1", outside.port):
        yield outside
    transport.close()


@asynccontextmanager
async def resolving(outside: Outside, *outside_only: IPv4Address) -> AsyncIterator[tuple[DnsResolver, int]]:
    port = free_port()
    resolver = DnsResolver(ResolverOptions(port, outside_only), Nameservers([f"127.0.0.1:{outside.port}"]))
    try:
        yield resolver, port
    finally:
        await resolver.stop()


async def ask(
    network: IPv4Network, port: int, name: str, kind: str = "A", *, client: int = 9, over_tcp: bool = False
) -> dns.message.Message:
    """Ask the resolver of a network, as its `client`-th address."""
    exchange = dns.asyncquery.tcp if over_tcp else dns.asyncquery.udp
    question = dns.message.make_query(name, kind, use_edns=True)
    source = str(network.network_address + client)
    return await exchange(question, str(network.network_address + 1), port=port, source=source, timeout=5)


def addresses(response: dns.message.Message) -> set[str]:
    return {str(item) for records in response.answer for item in records}


def a_name(network: IPv4Network, service: str, *last: int) -> Name:
    return Name(service, network, tuple(network.network_address + number for number in last))


@pytest.mark.parametrize("over_tcp", [False, True], ids=["udp", "tcp"])
async def test_each_network_sees_its_own_names_and_no_others(outside: Outside, over_tcp: bool) -> None:
    ours, theirs = fresh_network(), fresh_network()
    async with resolving(outside) as (resolver, port):
        await resolver.serve(
            [a_name(ours, "web", 10, 11), a_name(theirs, "web", 20), a_name(theirs, "secret", 21)], [ours, theirs]
        )
        answered = await ask(ours, port, "web.railway.internal", over_tcp=over_tcp)
        assert addresses(answered) == {str(ours.network_address + 10), str(ours.network_address + 11)}
        assert answered.answer[0].ttl <= 1
        hidden = await ask(ours, port, "secret.railway.internal", over_tcp=over_tcp)
        assert hidden.rcode() == dns.rcode.NXDOMAIN
    assert not outside.asked


async def test_other_kinds_of_a_known_name_are_empty_and_letters_case_does_not_matter(outside: Outside) -> None:
    network = fresh_network()
    async with resolving(outside) as (resolver, port):
        await resolver.serve([a_name(network, "web", 10), a_name(network, "starting")], [network])
        for name, kind in (("web", "AAAA"), ("web", "TXT"), ("starting", "A")):
            empty = await ask(network, port, f"{name}.railway.internal", kind)
            assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, [])
        assert addresses(await ask(network, port, "WeB.Railway.INTERNAL"))


async def test_a_client_from_elsewhere_is_refused(outside: Outside) -> None:
    network, elsewhere = fresh_network(), fresh_network()
    async with resolving(outside) as (resolver, port):
        await resolver.serve([a_name(network, "web", 10)], [network])
        question = dns.message.make_query("web.railway.internal", "A")
        server, source = str(network.network_address + 1), str(elsewhere.network_address + 9)
        refused = await dns.asyncquery.udp(question, server, port=port, source=source, timeout=5)
        assert refused.rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("name", ["nobody.railway.internal", "a.b.railway.internal", "1.1.210.10.in-addr.arpa"])
async def test_private_names_never_go_outside(outside: Outside, name: str) -> None:
    network = fresh_network()
    async with resolving(outside) as (resolver, port):
        await resolver.serve([], [network])
        assert (await ask(network, port, name)).rcode() == dns.rcode.NXDOMAIN
    assert not outside.asked


async def test_outside_names_are_passed_on_with_edns_over_udp_and_tcp(outside: Outside) -> None:
    network = fresh_network()
    async with resolving(outside) as (resolver, port):
        await resolver.serve([], [network])
        for over_tcp in (False, True):
            assert addresses(await ask(network, port, "example.com", over_tcp=over_tcp)) == {OUTSIDE}
        assert all(asked.edns == 0 for asked in outside.asked)
        short = await ask(network, port, "large.example.com")
        assert short.flags & dns.flags.TC
        assert addresses(await ask(network, port, "large.example.com", over_tcp=True)) == {OUTSIDE}


async def test_a_silent_outside_is_a_failure_and_the_next_one_is_asked(outside: Outside) -> None:
    network = fresh_network()
    port = free_port()
    servers = Nameservers([f"127.0.0.1:{free_port()}", f"127.0.0.1:{outside.port}"])
    resolver = DnsResolver(ResolverOptions(port), servers)
    try:
        await resolver.serve([], [network])
        assert addresses(await ask(network, port, "example.com")) == {OUTSIDE}
        assert (await ask(network, port, "silent.example.com")).rcode() == dns.rcode.SERVFAIL
    finally:
        await resolver.stop()


async def test_builds_get_outside_names_only(outside: Outside) -> None:
    builds, network = fresh_network(), fresh_network()
    async with resolving(outside, builds.network_address + 1) as (resolver, port):
        await resolver.serve([a_name(network, "web", 10)], [network])
        assert addresses(await ask(builds, port, "example.com")) == {OUTSIDE}
        assert (await ask(builds, port, "web.railway.internal")).rcode() == dns.rcode.NXDOMAIN


async def test_an_address_that_does_not_exist_yet_can_be_bound_and_is_let_go(outside: Outside) -> None:
    network = IPv4Network("10.210.77.0/24")
    async with resolving(outside) as (resolver, port):
        await resolver.serve([], [network])
        transport_free = asyncio.start_server(lambda r, w: None, str(network.network_address + 1), port)
        with pytest.raises(OSError, match="address"):
            await transport_free
        await resolver.serve([], [])
        await resolver.serve([], [network])


async def test_names_and_networks_change_while_it_runs(outside: Outside) -> None:
    first, second = fresh_network(), fresh_network()
    async with resolving(outside) as (resolver, port):
        await resolver.serve([a_name(first, "web", 10)], [first])
        await resolver.serve([a_name(first, "web", 12), a_name(second, "api", 3)], [first, second])
        assert addresses(await ask(first, port, "web.railway.internal")) == {str(first.network_address + 12)}
        assert addresses(await ask(second, port, "api.railway.internal")) == {str(second.network_address + 3)}


async def test_addresses_come_in_changing_order() -> None:
    network = fresh_network()
    zone = zone_of(network, [a_name(network, "web", 2, 3, 4)])
    question = dns.message.make_query("web.railway.internal", "A").to_wire()
    first = Counter(
        str(dns.message.from_wire(answer(zone, network.network_address + 9, question) or b"").answer[0][0])
        for _ in range(200)
    )
    assert len(first) == 3


@pytest.mark.parametrize("data", [b"", b"x", bytes(12), bytes(range(200)), b"\xff" * 512])
def test_nonsense_gets_no_answer_or_a_refusal(data: bytes) -> None:
    said = answer(Zone(None), IPv4Address("127.0.0.1"), data)
    assert said == b"" or dns.message.from_wire(said or b"").rcode() != dns.rcode.NOERROR


def test_a_client_that_asks_too_much_is_held_back_and_others_are_not() -> None:
    limit = RateLimit(rate=10, burst=20)
    loud, calm = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
    assert sum(limit.allows(loud, 100.0) for _ in range(50)) == 20
    assert limit.allows(calm, 100.0)
    assert sum(limit.allows(loud, 101.0) for _ in range(50)) == 10


def test_what_waits_outside_is_bounded_for_each_client_and_for_all() -> None:
    outstanding = Outstanding(of_client=2, of_all=3)
    loud, calm = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
    assert [outstanding.begin(loud) for _ in range(3)] == [True, True, False]
    assert [outstanding.begin(calm) for _ in range(2)] == [True, False]
    outstanding.end(loud)
    assert [outstanding.begin(calm), outstanding.begin(loud)] == [True, False]


@pytest.mark.parametrize("over_tcp", [False, True], ids=["udp", "tcp"])
async def test_names_that_nobody_answers_hold_up_only_who_asks_for_them(outside: Outside, over_tcp: bool) -> None:
    network, port = fresh_network(), free_port()
    resolver = DnsResolver(ResolverOptions(port), Nameservers([f"127.0.0.1:{outside.port}"]), Outstanding(of_client=4))
    try:
        await resolver.serve([a_name(network, "web", 10)], [network])
        waiting = [asyncio.create_task(ask(network, port, f"silent.{n}.example.com")) for n in range(4)]
        async with asyncio.timeout(10):
            while len(outside.asked) < 4:
                await asyncio.sleep(0.01)
        too_much = await ask(network, port, "one.example.com", over_tcp=over_tcp)
        assert too_much.rcode() == dns.rcode.SERVFAIL
        assert addresses(await ask(network, port, "example.com", client=10, over_tcp=over_tcp)) == {OUTSIDE}
        assert addresses(await ask(network, port, "web.railway.internal", over_tcp=over_tcp))
        await asyncio.gather(*waiting)
        assert addresses(await ask(network, port, "one.example.com", over_tcp=over_tcp)) == {OUTSIDE}
    finally:
        await resolver.stop()


def test_the_machines_resolvers_are_read_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# none\nsearch example.com\nnameserver 10.0.0.1\nnameserver ::1\n")
    servers = Nameservers([], file)
    assert servers.now() == ("10.0.0.1",)
    file.write_text("nameserver 10.0.0.2\n")
    os.utime(file, (1, 1))
    assert servers.now() == ("10.0.0.2",)
    file.unlink()
    assert servers.now() == ("10.0.0.2",)
    assert nameservers("") == ()
