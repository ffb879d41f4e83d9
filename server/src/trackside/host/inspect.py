"""A picture of everything that a platform could leave behind on a machine, as a value that can be compared.

A stop is right when the picture after it equals the one before the start. The whole machine is in it, not only what carries
our marks: a rule or a setting that was changed carries none.
"""

import asyncio
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trackside.host.cgroups import system_hierarchies
from trackside.host.commands import attempt
from trackside.host.engine import INSTALLATION_LABEL, client, engine_info
from trackside.host.errors import ProgramMissing
from trackside.host.process_table import all_processes, environment_of

SETTINGS = ("net/ipv4", "net/ipv6", "net/bridge", "net/core", "vm", "fs/inotify", "kernel/keys")
COUNTERS = re.compile(r"flush|stat_refresh|random|compact_memory|drop_caches|tcp_mem|cookie|key$|tcp_fastopen_key")
"""Settings that act when read, hold secrets, or are no settings but measures."""


@dataclass(frozen=True)
class Snapshot:
    """Kind (`processes`, `containers`, `networks`, `interfaces`, `rules`, `mounts`, `loops`, `control groups`, `settings`,
    `run`) → the things of that kind, each as one line."""

    things: Mapping[str, frozenset[str]]

    def added_since(self, before: "Snapshot") -> dict[str, list[str]]:
        """What is here and was not before; empty where nothing is."""
        return _difference(self.things, before.things)

    def lost_since(self, before: "Snapshot") -> dict[str, list[str]]:
        """What was before and is not here."""
        return _difference(before.things, self.things)

    def naming(self, *marks: str) -> "Snapshot":
        """Only the lines with one of these marks in them: for machines on which others work meanwhile."""
        kept = {kind: frozenset(line for line in lines if _has(line, marks)) for kind, lines in self.things.items()}
        return Snapshot(kept)


async def take_snapshot(engine_urls: Iterable[str] = ()) -> Snapshot:
    """Look at the machine, and at what carries our label on these engines."""
    things: dict[str, Iterable[str]] = {
        "processes": await asyncio.to_thread(lambda: list(_processes())),
        "interfaces": await _interfaces(),
        "rules": await _rules(),
        "mounts": Path("/proc/self/mounts").read_text().splitlines(),
        "loops": await _loops(),
        "control groups": await asyncio.to_thread(lambda: list(_control_groups())),
        "settings": await asyncio.to_thread(lambda: list(_settings())),
        "run": [entry.name for entry in Path("/run").iterdir() if entry.name.startswith("trackside")],
    }
    for url in engine_urls:
        things |= await _on_engine(url)
    return Snapshot({kind: frozenset(lines) for kind, lines in things.items()})


def _difference(left: Mapping[str, frozenset[str]], right: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    found = {kind: sorted(lines - right.get(kind, frozenset())) for kind, lines in left.items()}
    return {kind: lines for kind, lines in found.items() if lines}


def _has(line: str, marks: tuple[str, ...]) -> bool:
    return any(mark in line for mark in marks)


def _processes() -> Iterable[str]:
    """Processes that belong to some installation."""
    for process in all_processes():
        if installation := environment_of(process.pid).get("TRACKSIDE_INSTALLATION"):
            yield f"{installation} {process.pid} {process.command}"


async def _interfaces() -> list[str]:
    listed = json.loads((await attempt("ip", "-json", "address", "show")).output or "[]")
    return [" ".join([link["ifname"], *(address["local"] for address in link.get("addr_info", []))]) for link in listed]


async def _rules() -> list[str]:
    """All tables of all firewalls, without counters. A firewall that is not installed has none."""
    lines: list[str] = []
    for name, argv in (
        ("nft", ("nft", "--stateless", "list", "ruleset")),
        ("iptables", ("iptables-legacy-save",)),
        ("ip6tables", ("ip6tables-legacy-save",)),
    ):
        try:
            printed = (await attempt(*argv)).output
        except ProgramMissing:
            continue
        kept = (re.sub(r"\[\d+:\d+\]", "", line).strip() for line in printed.splitlines() if line[:1] not in {"#", ""})
        table = ""
        for line in kept:
            table = line if line.startswith(("table ", "*")) else table
            lines.append(f"{name}: {table}: {line}")
    return lines


async def _loops() -> list[str]:
    listed = (await attempt("losetup", "--json", "--list")).output or "{}"
    return [f"{loop['name']} {loop['back-file']}" for loop in json.loads(listed).get("loopdevices", [])]


def _control_groups() -> Iterable[str]:
    for root in system_hierarchies().roots:
        for where, _, _ in os.walk(root):
            if "trackside" in where:
                yield where


def _settings() -> Iterable[str]:
    root = Path("/proc/sys")
    for where, _, files in (entry for name in SETTINGS for entry in os.walk(root / name)):
        for file in files:
            if COUNTERS.search(file):
                continue
            path = Path(where) / file
            try:
                yield f"{path.relative_to(root)} = {path.read_text(errors='replace').strip()}"
            except OSError:  # some may only be written, some vanish with their interface
                continue


async def _on_engine(url: str) -> dict[str, list[str]]:
    if await engine_info(url) is None:
        return {}
    filters = {"label": [INSTALLATION_LABEL]}
    async with client(url) as docker:
        containers = await docker.containers.list(all=True, filters=filters)  # pyright: ignore[reportUnknownMemberType]
        networks = await docker.networks.list(filters=filters)
    return {
        "containers": [container.id for container in containers],
        "networks": [str(network["Id"]) for network in networks],
    }
