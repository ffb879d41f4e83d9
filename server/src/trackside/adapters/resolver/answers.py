"""What is answered to a DNS question. Pure: bytes and the asker's address in, an answer or "pass it on" out."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from trackside.rooms.networking.model import Name

PRIVATE = dns.name.from_text("railway.internal.")
REVERSE = dns.name.from_text("in-addr.arpa.")
SECONDS = 1
"""For how long an answer may be kept: replicas come and go."""


@dataclass(frozen=True)
class Zone:
    """What one listening address answers: its network's names; where `network` is None, outside names only, to all."""

    network: IPv4Network | None
    names: Mapping[str, tuple[IPv4Address, ...]] = field(default_factory=dict[str, tuple[IPv4Address, ...]])


def zone_of(network: IPv4Network, names: Sequence[Name]) -> Zone:
    """The zone of an environment's network: its own names and no others."""
    return Zone(network, {name.service.lower(): name.addresses for name in names if name.network == network})


def answer(zone: Zone, client: IPv4Address, question: bytes) -> bytes | None:
    """The answer to a question, b"" for none at all, or None where it is to be passed on to an outside resolver."""
    try:
        asked = dns.message.from_wire(question, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return b""
    if asked.flags & dns.flags.QR:
        return b""
    if zone.network is not None and client not in zone.network:
        return _response(asked, dns.rcode.REFUSED)
    if asked.opcode() != dns.opcode.QUERY or len(asked.question) != 1:
        return _response(asked, dns.rcode.NOTIMP)
    wanted = asked.question[0]
    if wanted.rdclass != dns.rdataclass.IN:
        return _response(asked, dns.rcode.NOTIMP)
    if wanted.name.is_subdomain(PRIVATE):
        return _private(zone, asked)
    return _response(asked, dns.rcode.NXDOMAIN) if _asks_for_neighbour(wanted.name) else None


def _private(zone: Zone, asked: dns.message.Message) -> bytes:
    wanted = asked.question[0]
    service = wanted.name.relativize(PRIVATE).to_text().lower()
    if service not in zone.names and wanted.name != PRIVATE:
        return _response(asked, dns.rcode.NXDOMAIN)
    if wanted.rdtype not in (dns.rdatatype.A, dns.rdatatype.ANY):
        return _response(asked, dns.rcode.NOERROR)
    addresses = [str(address) for address in zone.names.get(service, ())]
    random.shuffle(addresses)
    records = [dns.rrset.from_text(wanted.name, SECONDS, "IN", "A", *addresses)] if addresses else []
    return _response(asked, dns.rcode.NOERROR, records)


def _asks_for_neighbour(name: dns.name.Name) -> bool:
    """Whether the name of a private address is asked for: nobody outside knows it, nor should hear of it."""
    if not name.is_subdomain(REVERSE):
        return False
    labels = [label.decode(errors="replace") for label in name.relativize(REVERSE).labels]
    try:
        return IPv4Address(".".join(reversed((["0"] * 4 + labels)[-4:]))).is_private
    except ValueError:
        return False


def _response(asked: dns.message.Message, code: dns.rcode.Rcode, records: Sequence[dns.rrset.RRset] = ()) -> bytes:
    response = dns.message.make_response(asked, recursion_available=True)
    response.set_rcode(code)
    response.answer = list(records)
    return response.to_wire(max_size=65535)


def refused(question: bytes, code: dns.rcode.Rcode) -> bytes:
    """An answer without content to a question that can't be answered now; b"" where it is none."""
    try:
        return _response(dns.message.from_wire(question, ignore_trailing=True), code)
    except (dns.exception.DNSException, ValueError):
        return b""


def fitting(question: bytes, response: bytes) -> bytes:
    """The answer cut to what a client takes over UDP: marked as truncated, so that it asks again over TCP."""
    try:
        asked = dns.message.from_wire(question, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return b""
    if len(response) <= max(512, asked.payload if asked.edns >= 0 else 512):
        return response
    short = dns.message.make_response(asked, recursion_available=True)
    short.flags |= dns.flags.TC
    return short.to_wire()
