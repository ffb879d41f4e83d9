"""What the edge serves, as a text: read at a start without the database, and by HAProxy's launcher. Pure."""

from ipaddress import IPv4Address, IPv4Network

import msgspec

from trackside.rooms.networking.ports import Served


def to_text(served: Served) -> str:
    """As JSON."""
    return msgspec.json.encode(served, enc_hook=_encode).decode()


def from_text(text: str) -> Served:
    """From JSON. Errors: ValueError."""
    return msgspec.json.decode(text, type=Served, dec_hook=_decode)


def _encode(value: object) -> str:
    if isinstance(value, IPv4Address | IPv4Network):
        return str(value)
    raise NotImplementedError(type(value))


def _decode(kind: type, value: object) -> IPv4Address | IPv4Network:
    if kind is IPv4Address:
        return IPv4Address(value)
    if kind is IPv4Network:
        return IPv4Network(value)
    raise NotImplementedError(kind)
