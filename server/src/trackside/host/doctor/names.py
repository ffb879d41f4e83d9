"""Names and time: the base domain leads here, outside names resolve, the resolvers answer, the clock is right."""

import asyncio
import email.utils
import errno
import json
import re
import socket
import ssl
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import dns.asyncquery
import dns.exception
import dns.message
import httpx
import psycopg

from trackside.host.commands import run
from trackside.host.doctor.findings import Finding, Patient, Surroundings, failed, ok, warning
from trackside.host.installation import OWNER_ROLE, database_url, nameservers
from trackside.host.machine import Machine
from trackside.host.process_table import Process, holder_of, sockets_on_all_addresses

LARGEST_SKEW_SECONDS = 60
ANSWER_SECONDS = 3
DNS_PORT = 53
UNUSED_ADDRESS = "127.53.53.53"
"""Of this machine, and nobody's: who has its port has the port of every address."""
SET_CLOCK = "Have it set: `timedatectl set-ntp true`, or without systemd an NTP client (`apt-get install chrony`)."
PROBE = "trackside-doctor"
"""A label that no app has: what it resolves to, every name below the base domain resolves to."""


async def domain(patient: Patient) -> Finding:
    """Where the apps' host names lead."""
    base = patient.surroundings.base_domain
    if base == "localhost" or base.endswith(".localhost"):
        return ok("domain", f"Names below {base} lead to each computer itself: apps are reached on this one only.")
    found = await addresses_of(f"{PROBE}.{base}")
    return judge_domain(base, found, await own_addresses())


def judge_domain(base: str, found: Collection[str], own: Collection[str]) -> Finding:
    """Pure. `found`: what a name below the domain resolves to."""
    if not found:
        sentence = f"Names below {base} do not resolve: apps are not reached by their host names."
        return failed("domain", sentence, f"Make a DNS record: `*.{base}` → this machine's address.")
    if strange := sorted(address for address in found if address not in own and not ip_address(address).is_loopback):
        sentence = f"Names below {base} lead to {', '.join(strange)}, which is no address of this machine."
        mend = f"Correct the DNS record `*.{base}`, unless a router or load balancer there passes on to this machine."
        return warning("domain", sentence, mend)
    return ok("domain", f"Names below {base} lead to this machine.")


async def own_addresses() -> set[str]:
    listed = json.loads(await run("ip", "-json", "address", "show") or "[]")
    return {str(address["local"]) for link in listed for address in link.get("addr_info", [])}


async def addresses_of(name: str) -> set[str]:
    with suppress(socket.gaierror):
        found = await asyncio.get_running_loop().getaddrinfo(name, 80, type=socket.SOCK_STREAM)
        return {str(address[0]) for *_, address in found}
    return set()


async def resolvers(patient: Patient) -> Finding:
    """Whether the servers that apps' outside questions go to answer at all, whatever they say."""
    given = patient.surroundings.upstream_resolvers
    where = "the setting `upstream_resolvers`" if given else "/etc/resolv.conf"
    servers = given or tuple(map(str, nameservers(await asyncio.to_thread(_text, Path("/etc/resolv.conf")))))
    answering = await asyncio.gather(*(answers(server) for server in servers))
    silent = [server for server, does in zip(servers, answering, strict=True) if not does]
    return judge_resolvers(servers, silent, where)


def judge_resolvers(servers: Sequence[str], silent: Sequence[str], where: str) -> Finding:
    """Pure."""
    if not servers:
        return failed(
            "resolvers", f"No DNS server is named in {where}.", "Set TRACKSIDE_UPSTREAM_RESOLVERS='[\"9.9.9.9\"]'."
        )
    sentence = f"No answer from {', '.join(silent)}, named in {where}"
    if len(silent) == len(servers):
        return failed("resolvers", f"{sentence}: apps and builds resolve no outside name.", f"Correct {where}.")
    if silent:
        return warning("resolvers", f"{sentence}: outside names resolve late.", f"Take it out of {where}.")
    return ok("resolvers", f"{', '.join(servers)} answer.")


async def answers(server: str) -> bool:
    """Whether a DNS server (`host` or `host:port`) answers a question. A refusal is an answer."""
    host, _, port = server.partition(":")
    with suppress(dns.exception.DNSException, OSError, ValueError):
        question = dns.message.make_query(".", "NS")
        await dns.asyncquery.udp(question, host, timeout=ANSWER_SECONDS, port=int(port or 53))
        return True
    return False


async def outside(patient: Patient) -> Finding:
    hosts = {str(urlsplit(url).hostname) for url in await _sources(patient.surroundings)}
    if not hosts:
        return ok("names", "No package source is set whose name could be asked for.")
    for name in sorted(hosts):
        if await addresses_of(name):
            return ok("names", f"Outside names resolve ({name}).")
    sentence = f"{', '.join(sorted(hosts))} do not resolve: git URLs and package sources are not reached."
    mend = "Name servers that know them in the setting `upstream_resolvers`, or in /etc/resolv.conf."
    return failed("names", sentence, mend)


async def private(patient: Patient) -> Finding:
    """Whether our resolver can have the DNS port of the networks' own addresses."""
    del patient
    if can_be_had(UNUSED_ADDRESS, DNS_PORT):
        return judge_private(None, is_held=False)
    sockets = await asyncio.to_thread(sockets_on_all_addresses, DNS_PORT)
    return judge_private(await asyncio.to_thread(holder_of, sockets), is_held=True)


def can_be_had(address: str, port: int) -> bool:
    """Whether an address's port is free, for UDP and TCP; what this user may not try counts as free."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as trial:
            try:
                trial.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
    return True


def judge_private(holder: Process | None, *, is_held: bool) -> Finding:
    """Pure."""
    if not is_held:
        return ok("private names", "Nobody else has the DNS port of the apps' networks.")
    who = f"`{holder.command}` (process {holder.pid})" if holder else "another user's program"
    sentence = f"Port {DNS_PORT} of every address is held by {who}: apps resolve no name at all."
    mend = "Have it listen on its own addresses only (dnsmasq: `bind-interfaces`; BIND: `listen-on`; unbound: `interface`)."
    return failed("private names", sentence, mend)


async def clock(patient: Patient) -> Finding:
    """Against the database, and against the first mirror or package source that tells the time."""
    skews: dict[str, float] = {}
    if (skew := await _skew_of_database(patient.machine, patient.surroundings)) is not None:
        skews["the database"] = skew
    async with httpx.AsyncClient(timeout=5, verify=_trust(patient.surroundings.ca_bundle)) as http:
        for url in await _sources(patient.surroundings):
            with suppress(httpx.HTTPError, KeyError, TypeError, ValueError):
                stated = (await http.head(url)).headers["date"]
                skews[str(urlsplit(url).hostname)] = time.time() - email.utils.parsedate_to_datetime(stated).timestamp()
                break
    return judge_clock(skews)


def judge_clock(skews: Mapping[str, float]) -> Finding:
    """Pure. `skews`: seconds that this machine is ahead, by whom it was compared with."""
    for name, skew in skews.items():
        if abs(skew) > LARGEST_SKEW_SECONDS:
            side = "ahead of" if skew > 0 else "behind"
            sentence = f"The clock is {abs(skew):.0f} s {side} {name}: certificates and tokens will be refused."
            return failed("clock", sentence, SET_CLOCK)
    compared = " and ".join(f"{name} within {abs(skew):.0f} s" for name, skew in skews.items())
    if set(skews) - {"the database"}:
        return ok("clock", f"The clock agrees with {compared}.")
    told = f" It agrees with {compared}." if compared else ""
    sentence = f"No server outside tells the time, so the clock was not compared with one.{told}"
    return warning("clock", sentence, SET_CLOCK)


async def _skew_of_database(machine: Machine, surroundings: Surroundings) -> float | None:
    url = surroundings.database_url or database_url(machine.layout, OWNER_ROLE)
    with suppress(psycopg.Error, OSError):
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=ANSWER_SECONDS) as connection:
            row = await (await connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")).fetchone()
            return time.time() - float(row[0]) if row else None
    return None


def _trust(ca_bundle: Path | None) -> ssl.SSLContext:
    with suppress(OSError, ssl.SSLError):
        return ssl.create_default_context(cafile=ca_bundle)
    return ssl.create_default_context()


async def _sources(surroundings: Surroundings) -> list[str]:
    return [*surroundings.mirrors, *await asyncio.to_thread(package_sources)]


def package_sources(directory: Path = Path("/etc/apt")) -> list[str]:
    """The addresses this machine gets its system packages from: servers it is meant to reach."""
    files = [directory / "sources.list", *(directory / "sources.list.d").glob("*")]
    texts = [file.read_text(errors="replace") for file in files if file.is_file()]
    lines = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")]
    return list(dict.fromkeys(re.findall(r"https?://\S+", "\n".join(lines))))


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
