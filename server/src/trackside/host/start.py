"""The start: announced steps, each of which checks what it needs and says what mends it where that is missing.

Every step is idempotent: a start of a running platform converges what is missing or has changed, and touches nothing else.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from trackside.host.builds import BuildEngine
from trackside.host.commands import find_program
from trackside.host.engine import (
    EngineChoice,
    choose_engine,
    prepare_containerd,
    prepare_engine,
    wait_for_engine,
)
from trackside.host.errors import DiskFull, PartFailed, PortTaken, RightsMissing
from trackside.host.files import make_directory, read_json, write_json, write_text
from trackside.host.installation import exclusively, save_settings
from trackside.host.launch import Launch
from trackside.host.machine import WATCHER, Machine
from trackside.host.network import open_network
from trackside.host.postgres import Postgres
from trackside.host.process_table import (
    carries,
    holder_of_port,
    listening_sockets,
)
from trackside.host.processes import Supervisor
from trackside.host.shares import make_groups, move
from trackside.host.supervisor_config import SupervisorPlan
from trackside.host.versions import ensure_current

LEAST_FREE_BYTES = 2 << 30
LEAST_TO_GO_ON_BYTES = 64 << 20
"""What was started once starts again on a low disk: what runs there must come back after a boot; new deployments wait."""
API_SECONDS = 60
EDGE_SECONDS = 90
"""After a boot the edge opens when every app is well, or in half a minute without the rest."""
PROGRAMS = ("dockerd", "containerd", "runc", "haproxy", "nft", "ip", "mkfs.ext4", "mount", "setpriv", "iptables")


@dataclass(frozen=True)
class Progress:
    """A step begins (`seconds` is None) or has ended."""

    number: int
    total: int
    sentence: str
    seconds: float | None = None


Announce = Callable[[Progress], None]
AfterDatabase = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Started:
    """What a start found and did."""

    was_running: bool
    engine: EngineChoice


@dataclass
class _Start:
    """One start under way: what earlier steps learned for later ones."""

    machine: Machine
    after_database: AfterDatabase
    engine: EngineChoice = field(default_factory=lambda: EngineChoice("", is_ours=True))
    launches: dict[str, Launch] = field(default_factory=dict[str, Launch])

    @property
    def supervisor_plan(self) -> SupervisorPlan:
        return self.machine.supervisor_plan(self.launches)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.supervisor_plan, self.machine.layout.supervisor_config)

    async def check(self) -> None:
        if os.geteuid() != 0:
            raise RightsMissing("Starting the platform needs root: it makes networks, mounts and control groups.")
        for program in PROGRAMS:
            find_program(program)
        layout = self.machine.layout
        for directory in (make_directory(layout.home, 0o711), make_directory(layout.data, 0o711)):
            check_free(directory, LEAST_TO_GO_ON_BYTES if layout.postgres_data.exists() else LEAST_FREE_BYTES)
        ensure_current(layout)
        check_port(self.machine.installation.api_port, "TRACKSIDE_API_PORT", layout.installation)
        check_port(self.machine.installation.edge_port, "TRACKSIDE_EDGE_PORT", layout.installation)
        remembered = (read_json(layout.settings_file) or {}).get("engine_url", "")
        self.engine = await choose_engine(self.machine.environment, layout.engine_socket, str(remembered))
        save_settings(layout, {"engine_url": self.engine.url})

    async def open_network(self) -> None:
        await open_network(self.machine)

    async def supervise(self) -> None:
        """Prepare every part, so that the supervisor knows how to run each."""
        layout = self.machine.layout
        make_directory(layout.run, 0o711)
        if not layout.downtime_file.exists():
            write_json(layout.downtime_file, downtime(layout.alive_file, datetime.now(UTC)))
        make_directory(layout.launches, 0o700)
        await make_groups(layout)
        self.launches["postgres"] = await Postgres(self.machine.postgres_paths).prepare()
        self.launches["containerd"] = prepare_containerd(
            layout.data / "containerd", layout.run / "containerd", layout.containerd_socket
        )
        if self.engine.is_ours:
            self.launches["engine"] = prepare_engine(self.machine.engine_plan)
        self.launches["build-engine"] = await BuildEngine(self.machine.build_plan).prepare()
        if self.machine.options.hang_seconds:
            self.launches["watchdog"] = self.machine.watchdog_launch(self.launches)
        platform = {name: self.machine.platform_launch(name) for name in self.machine.options.processes}
        watcher = {WATCHER: self.machine.watcher_launch}
        for name, launch in (self.launches | platform | watcher).items():
            write_text(self.machine.launch_file(name), self.machine.supervised(name, launch).as_json(), 0o600)
        write_text(layout.watch_file, self.supervisor.watch.as_json(), 0o600)
        await self.supervisor.ensure(self.machine.process_environment())
        await asyncio.to_thread(move, layout, self.supervisor.holders(), self.launches)
        await self.supervisor.start(WATCHER)
        shutil.rmtree(layout.before_upgrade, ignore_errors=True)  # a start has put the current version's processes back

    async def start_postgres(self) -> None:
        postgres = Postgres(self.machine.postgres_paths)
        await self._start_part("postgres", postgres.wait_until_ready())
        await postgres.ensure_database()

    async def prepare_database(self) -> None:
        await self.after_database()

    async def start_engine(self) -> None:
        await self.supervisor.start("containerd")
        if self.engine.is_ours:
            await self._start_part("engine", wait_for_engine(self.engine.url, "The container engine"))

    async def start_build_engine(self) -> None:
        url = f"unix://{self.machine.layout.build_engine_socket}"
        await self._start_part("build-engine", wait_for_engine(url, "The build engine"))

    async def start_platform(self) -> None:
        names = self.machine.options.processes
        for name in (*self.launches.keys() & {"watchdog"}, *names):
            await self.supervisor.start(name)
        for name in names:
            await self.supervisor.wait_until_steady(name)

    async def wait_for_api(self) -> None:
        if "gateway" in self.machine.options.processes:
            await wait_for_api(self.machine.options.api_host, self.machine.installation.api_port)

    async def wait_for_edge(self) -> None:
        if {"haproxy", "edge"} <= set(self.machine.options.processes):
            await wait_for_edge(self.machine.installation.edge_port)

    async def _start_part(self, name: str, ready: Awaitable[None]) -> None:
        supervisor = self.supervisor
        await supervisor.start(name)
        try:
            await ready
        except PartFailed as failed:
            log = self.machine.layout.logs / f"{name}.log"
            sentence = f"{failed.sentence} Its last words: {supervisor.last_words(name)}"
            raise PartFailed(sentence, hint=f"Read {log}, then try again: `bin/trackside server start`.") from failed


async def start(machine: Machine, announce: Announce, after_database: AfterDatabase) -> Started:
    """Start the platform, or converge a running one. `after_database` prepares schemas once PostgreSQL answers.

    Errors: those of `host.errors`, each with the command that mends it; what was started until then stays and is found by
    the next start or stop.
    """
    with exclusively(machine.layout.lock_file):
        under_way = _Start(machine, after_database)
        was_running = await Supervisor(machine.supervisor_plan({}), machine.layout.supervisor_config).is_running()
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("checking the machine", under_way.check),
            ("opening the private network", under_way.open_network),
            ("starting the supervisor", under_way.supervise),
            ("starting PostgreSQL", under_way.start_postgres),
            ("preparing the database", under_way.prepare_database),
            ("starting the container engine", under_way.start_engine),
            ("starting the build engine", under_way.start_build_engine),
            ("starting the platform's processes", under_way.start_platform),
            ("waiting for the API", under_way.wait_for_api),
            ("waiting for the edge, which looks at every app before it opens", under_way.wait_for_edge),
        ]
        for number, (sentence, step) in enumerate(steps, start=1):
            announce(Progress(number, len(steps), sentence))
            began = time.monotonic()
            await step()
            announce(Progress(number, len(steps), sentence, time.monotonic() - began))
    return Started(was_running, under_way.engine)


def check_free(directory: Path, least: int) -> None:
    """`least`: in bytes. Errors: `DiskFull`."""
    free = shutil.disk_usage(directory).free
    if free < least:
        raise DiskFull(f"The disk of {directory} has {free >> 20} MiB free; at least {least >> 20} MiB are needed.")


def check_port(port: int, variable: str, installation: str) -> None:
    """Errors: `PortTaken`, naming who holds it and the command that takes another."""
    if not listening_sockets(port):
        return
    holder = holder_of_port(port)
    if holder and carries(holder.pid, installation):
        return
    who = f"`{holder.command}` (process {holder.pid})" if holder else "another user's program"
    raise PortTaken(
        f"Port {port} is held by {who}.",
        hint=f"End that program, or take another port: `{variable}={port + 1} make demo`.",
    )


async def wait_for_api(host: str, port: int, seconds: float = API_SECONDS) -> None:
    """Return when the API answers. Errors: `PartFailed`."""
    address = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    try:
        async with asyncio.timeout(seconds), httpx.AsyncClient(trust_env=False) as client:
            while not await _answers(client, f"http://{address}:{port}/v1/version"):
                await asyncio.sleep(0.05)
    except TimeoutError as late:
        hint = "Look at the processes: `bin/trackside server status`."
        raise PartFailed(f"The API did not answer on port {port} within {seconds:.0f} s.", hint=hint) from late


async def wait_for_edge(port: int, seconds: float = EDGE_SECONDS) -> None:
    """Return when clients can reach the edge. Errors: `PartFailed`."""
    try:
        async with asyncio.timeout(seconds):
            while not listening_sockets(port):
                await asyncio.sleep(0.05)
    except TimeoutError as late:
        hint = (
            "Look at the processes: `bin/trackside server status`; read logs/platform/edge.log in the state directory."
        )
        raise PartFailed(f"The edge did not open port {port} within {seconds:.0f} s.", hint=hint) from late


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


def downtime(alive: Path, now: datetime) -> dict[str, str]:
    """From when to when nothing ran here; from now to now where it has never run."""
    began = datetime.fromtimestamp(alive.stat().st_mtime, UTC) if alive.exists() else now
    return {"began": min(began, now).isoformat(), "ended": now.isoformat()}
