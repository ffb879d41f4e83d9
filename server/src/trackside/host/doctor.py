"""Looks for what is wrong with the machine or the platform: each finding with the command that mends it."""

import asyncio
import email.utils
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from trackside.host.commands import find_program
from trackside.host.engine import engine_info
from trackside.host.errors import CommandFailed, ProgramMissing
from trackside.host.files import read_json
from trackside.host.firewall import Firewall, foreign_drops
from trackside.host.kernel import KernelSettings
from trackside.host.loop_disk import mounts_below
from trackside.host.machine import Machine
from trackside.host.postgres import Postgres
from trackside.host.process_table import carries, holder_of_port, listening_sockets, processes_of
from trackside.host.processes import Supervisor
from trackside.host.start import FORWARDING, LEAST_FREE_BYTES, PROGRAMS

LARGEST_SKEW_SECONDS = 60


class Health(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One check's result: what was looked at, how it is, in a sentence, and what mends it (empty where nothing is wrong)."""

    check: str
    health: Health
    sentence: str
    mend: str = ""


Check = Callable[[Machine], Awaitable[Finding]]


async def examine(machine: Machine) -> list[Finding]:
    """Run every check; one that breaks is a finding as well."""
    return [await _run(name, check, machine) for name, check in CHECKS.items()]


async def _run(name: str, check: Check, machine: Machine) -> Finding:
    try:
        async with asyncio.timeout(20):
            return await check(machine)
    except (OSError, TimeoutError, ProgramMissing, CommandFailed) as trouble:
        return Finding(name, Health.FAILED, f"The check itself failed: {trouble}", getattr(trouble, "hint", ""))


async def _rights(_: Machine) -> Finding:
    if os.geteuid() == 0:
        return Finding("rights", Health.OK, "Running as root.")
    return Finding(
        "rights", Health.WARNING, "Not root: some checks see only a part.", "sudo bin/trackside server doctor"
    )


async def _programs(_: Machine) -> Finding:
    missing: list[str] = []
    for program in PROGRAMS:
        try:
            find_program(program)
        except ProgramMissing:
            missing.append(program)
    if missing:
        return Finding("programs", Health.FAILED, f"Not installed: {', '.join(missing)}.", "make setup")
    return Finding("programs", Health.OK, "Every system program is installed.")


async def _disk(machine: Machine) -> Finding:
    for directory in (machine.layout.home, machine.layout.data, Path("/")):
        if not directory.exists():
            continue
        usage = shutil.disk_usage(directory)
        if usage.free < LEAST_FREE_BYTES:
            sentence = f"{directory} has only {usage.free >> 20} MiB free."
            return Finding("disk", Health.FAILED, sentence, f"du -xh {directory} | sort -h | tail")
    free = shutil.disk_usage(machine.layout.home).free
    wanted = machine.options.build_disk_bytes
    if free < wanted:
        sentence = f"{free >> 30} GiB free; the builds' disk may grow to {wanted >> 30} GiB."
        return Finding("disk", Health.WARNING, sentence, "TRACKSIDE_BUILD_DISK_BYTES=8589934592 make demo")
    return Finding("disk", Health.OK, f"{free >> 30} GiB free.")


async def _ports(machine: Machine) -> Finding:
    for port, variable in (
        (machine.installation.api_port, "TRACKSIDE_API_PORT"),
        (machine.installation.edge_port, "TRACKSIDE_EDGE_PORT"),
    ):
        holder = holder_of_port(port)
        if listening_sockets(port) and not (holder and carries(holder.pid, machine.layout.installation)):
            who = f"`{holder.command}` (process {holder.pid})" if holder else "another user's program"
            return Finding("ports", Health.FAILED, f"Port {port} is held by {who}.", f"{variable}={port + 1} make demo")
    return Finding("ports", Health.OK, "The platform's ports are its own or free.")


async def _engine(machine: Machine) -> Finding:
    url = str((read_json(machine.layout.settings_file) or {}).get("engine_url", ""))
    info = await engine_info(url) if url else None
    if info is None:
        where = f" at {url}" if url else ""
        return Finding("engine", Health.FAILED, f"No container engine answers{where}.", "bin/trackside server start")
    version = str(info["ServerVersion"])
    if int(version.split(".")[0]) < 20:
        return Finding("engine", Health.FAILED, f"Engine {version} is too old; 20.10 is needed.", "Upgrade the engine.")
    if not info.get("LiveRestoreEnabled"):
        sentence = f"Engine {version} stops all apps when it restarts: live-restore is off."
        mend = 'Set {"live-restore": true} in /etc/docker/daemon.json, then: systemctl reload docker'
        return Finding("engine", Health.WARNING, sentence, mend)
    return Finding("engine", Health.OK, f"Engine {version} answers; live-restore is on.")


async def _build_engine(machine: Machine) -> Finding:
    if await engine_info(f"unix://{machine.layout.build_engine_socket}") is None:
        return Finding("build engine", Health.FAILED, "The build engine does not answer.", "bin/trackside server start")
    if not machine.build_plan.disk.is_mounted():
        return Finding("build engine", Health.FAILED, "The builds' disk is not mounted.", "make stop; make demo")
    usage = shutil.disk_usage(machine.layout.build_disk)
    return Finding("build engine", Health.OK, f"The build engine answers; its disk has {usage.free >> 20} MiB free.")


async def _database(machine: Machine) -> Finding:
    if await Postgres(machine.postgres_paths).answers():
        return Finding("database", Health.OK, "PostgreSQL takes connections.")
    log = machine.layout.logs / "postgres.log"
    return Finding(
        "database", Health.FAILED, "PostgreSQL takes no connections.", f"bin/trackside server start; less {log}"
    )


async def _processes(machine: Machine) -> Finding:
    statuses = await Supervisor(machine.supervisor_plan({}), machine.layout.supervisor_config).status()
    if not statuses:
        return Finding("processes", Health.FAILED, "The platform is not running.", "bin/trackside server start")
    ill = [f"{status.name} ({status.state})" for status in statuses if status.state != "RUNNING"]
    if ill:
        return Finding(
            "processes", Health.FAILED, f"Not running: {', '.join(ill)}.", f"less {machine.layout.logs}/*.log"
        )
    return Finding("processes", Health.OK, f"{len(statuses)} processes run.")


async def _forwarding(machine: Machine) -> Finding:
    if KernelSettings().read(FORWARDING) != "1":
        sentence = "The kernel forwards nothing: apps and builds reach no network."
        return Finding("forwarding", Health.FAILED, sentence, "bin/trackside server start")
    if not await Firewall(machine.firewall_plan(close_uplinks=False)).is_applied():
        sentence = "The platform's firewall table is gone: environments are not kept apart."
        return Finding("forwarding", Health.FAILED, sentence, "bin/trackside server start")
    return Finding("forwarding", Health.OK, "The kernel forwards, by the platform's rules.")


async def _foreign_firewall(machine: Machine) -> Finding:
    drops = await foreign_drops(machine.layout.firewall_table)
    shut = [drop for drop in drops if not drop.can_open]
    if shut:
        names = ", ".join(f"{drop.table} {drop.chain}" for drop in shut)
        prefix = machine.installation.interface_prefix
        mend = f"Allow forwarding from and to the interfaces `{prefix}*` in that firewall, and DNS (port 53) from them."
        return Finding("foreign firewall", Health.FAILED, f"Another firewall drops our traffic: {names}.", mend)
    if drops:
        return Finding("foreign firewall", Health.OK, "Another firewall drops by default; ours are let through it.")
    return Finding("foreign firewall", Health.OK, "No other firewall drops our traffic.")


async def _names(_: Machine) -> Finding:
    loop = asyncio.get_running_loop()
    hosts = {str(urlsplit(url).hostname) for url in await asyncio.to_thread(package_sources)}
    if not hosts:
        return Finding("names", Health.OK, "No package source is set whose name could be asked for.")
    for name in sorted(hosts):
        with suppress(socket.gaierror):
            await loop.getaddrinfo(name, 80)
            return Finding("names", Health.OK, f"Outside names resolve ({name}).")
    sentence = f"{', '.join(sorted(hosts))} do not resolve: git URLs and package sources are not reached."
    return Finding("names", Health.FAILED, sentence, "cat /etc/resolv.conf")


async def _clock(_: Machine) -> Finding:
    async with httpx.AsyncClient(timeout=5) as http:
        for url in await asyncio.to_thread(package_sources):
            with suppress(httpx.HTTPError, TypeError, ValueError):
                stated = email.utils.parsedate_to_datetime((await http.head(url)).headers["date"]).timestamp()
                skew = abs(time.time() - stated)
                if skew > LARGEST_SKEW_SECONDS:
                    sentence = f"The clock is {skew:.0f} s off: certificates and tokens will be refused."
                    return Finding("clock", Health.FAILED, sentence, "timedatectl set-ntp true")
                return Finding("clock", Health.OK, f"The clock is right within {skew:.0f} s.")
    return Finding("clock", Health.WARNING, "No server outside tells the time, so the clock was not compared.")


async def _orphans(machine: Machine) -> Finding:
    """What other installations have left whose state directory is gone."""
    left: list[str] = []
    for file in machine.layout.register.glob("*/installation.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["installation"] != machine.layout.installation and not Path(record["home"]).exists():
            name = str(record["installation"])
            ran = processes_of(name, file.parent, f"/trackside-{name}")
            left.append(f"{file.parent} ({len(ran)} processes, {len(mounts_below(file.parent))} mounts)")
    if left:
        sentence = f"Left of installations whose state directory is gone: {', '.join(left)}."
        return Finding("orphans", Health.WARNING, sentence, f"rm -r {left[0].split(' ')[0]}")
    return Finding("orphans", Health.OK, "Nothing of a former installation is left.")


def package_sources(directory: Path = Path("/etc/apt")) -> list[str]:
    """The addresses this machine gets its system packages from: servers it is meant to reach."""
    files = [directory / "sources.list", *(directory / "sources.list.d").glob("*")]
    texts = [file.read_text(errors="replace") for file in files if file.is_file()]
    lines = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")]
    return list(dict.fromkeys(re.findall(r"https?://\S+", "\n".join(lines))))


CHECKS: dict[str, Check] = {
    "rights": _rights,
    "programs": _programs,
    "disk": _disk,
    "ports": _ports,
    "database": _database,
    "engine": _engine,
    "build engine": _build_engine,
    "processes": _processes,
    "forwarding": _forwarding,
    "foreign firewall": _foreign_firewall,
    "names": _names,
    "clock": _clock,
    "orphans": _orphans,
}
"""In the order in which they are shown."""


def is_healthy(findings: Sequence[Finding]) -> bool:
    return all(finding.health is not Health.FAILED for finding in findings)
