"""Keeps the build engine's way to the mirrors and proxies of the settings open while their names get other addresses.

What is open is decided purely: of addresses seen before and what the names lead to now.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from trackside.host.commands import attempt, run
from trackside.host.firewall_rules import IPAddress, opening, services_set

PORTS = {"http": 80, "https": 443}
STAY_OPEN_SECONDS = 600.0
"""For how long an address stays open that the name no longer leads to: some names lead elsewhere each time, and what was begun ends."""
Place = tuple[str, int]
"""Host and port."""
Seen = Mapping[Place, Mapping[IPAddress, float]]
"""When each place was last seen at each of its addresses, in seconds of a clock that never goes back."""
Resolve = Callable[[Iterable[Place]], Awaitable[Mapping[Place, frozenset[IPAddress]]]]


def endpoints(texts: Iterable[str]) -> set[Place]:
    """Host and port of each `[scheme://][user@]host[:port][/path]`; a text that names none is passed over. Pure."""
    found: set[Place] = set()
    for text in texts:
        with suppress(ValueError):
            parts = urlsplit(text if "//" in text else f"//{text}")
            if parts.hostname:
                found.add((parts.hostname, parts.port or PORTS.get(parts.scheme, 443)))
    return found


async def resolved(places: Iterable[Place]) -> dict[Place, frozenset[IPAddress]]:
    """The addresses of each; none where nobody can tell."""
    loop = asyncio.get_running_loop()
    found: dict[Place, frozenset[IPAddress]] = {}
    for host, port in places:
        found[host, port] = frozenset()
        with suppress(socket.gaierror):
            answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found[host, port] = frozenset(ip_address(str(where[0]).partition("%")[0]) for *_, where in answers)
    return found


def seen_again(before: Seen, answers: Mapping[Place, frozenset[IPAddress]], now: float) -> Seen:
    """What is known after these answers. Where there is none, what was known holds: the name server may be away. Pure."""
    found: dict[Place, Mapping[IPAddress, float]] = {}
    for place, addresses in answers.items():
        known = before.get(place, {})
        lasting = {address: at for address, at in known.items() if now - at < STAY_OPEN_SECONDS or not addresses}
        found[place] = lasting | dict.fromkeys(addresses, now)
    return found


def services(seen: Seen) -> frozenset[tuple[IPAddress, int]]:
    """All addresses with their ports. Pure."""
    return frozenset((address, port) for (_, port), addresses in seen.items() for address in addresses)


class Mirrors:
    """The places that an installation's table opens to its build engine."""

    def __init__(
        self,
        table: str,
        places: Iterable[Place],
        resolve: Resolve = resolved,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._places = frozenset(places)
        self._resolve = resolve
        self._clock = clock
        self._seen: Seen = {}

    async def follow(self) -> None:
        """Look the names up, and open what they lead to now. Does nothing where there are no rules for the build engine.

        Errors: `CommandFailed`, `ProgramMissing`.
        """
        if not self._places:
            return
        seen = seen_again(self._seen, await self._resolve(self._places), self._clock())
        if services(seen) != services(self._seen):
            if not await self._has_rules():
                return
            is_whole = all(seen.values())  # else an earlier process, or the start, may know what this one does not
            await run("nft", "-f", "-", stdin=opening(self._table, services(seen), instead=is_whole))
        self._seen = seen

    async def _has_rules(self) -> bool:
        return (await attempt("nft", "list", "set", "inet", self._table, services_set(4))).status == 0
