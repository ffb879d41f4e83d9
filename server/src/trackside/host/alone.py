"""Runs some parts of the platform without its supervisor, in a directory of their own: for tests and for trying things out."""

import shutil
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from trackside.host.builds import BuildEngine
from trackside.host.engine import prepare_containerd, prepare_engine, wait_for_engine
from trackside.host.files import make_directory
from trackside.host.installation import layout_of, open_installation, save_settings
from trackside.host.launch import Launch
from trackside.host.machine import Machine, MachineOptions
from trackside.host.network import open_network
from trackside.host.postgres import Postgres
from trackside.host.spawning import spawn
from trackside.host.start import Progress
from trackside.host.stop import stop

POSTGRES = "postgres"
ENGINE = "engine"
BUILD_ENGINE = "build-engine"
NETWORK = "network"


@asynccontextmanager
async def parts_alone(
    directory: Path, parts: Collection[str], options: MachineOptions | None = None
) -> AsyncGenerator[Machine]:
    """Run the named parts while the context lasts, then stop them and remove the directory.

    The directory must not be there yet; keep its path short (a socket's path ends at 107 bytes), in a place that every user
    may pass through. `network` is the firewall alone; both engines bring it along.
    """
    make_directory(directory, 0o711)
    home, register = directory / "home", directory / "reg"
    installation = await open_installation(home, {"TRACKSIDE_API_PORT": "1", "TRACKSIDE_EDGE_PORT": "2"}, register)
    layout = layout_of(installation, home, register)
    machine = Machine(layout, installation, replace(options or MachineOptions(), processes=()))
    try:
        await _start(machine, parts)
        yield machine
    finally:
        await stop(machine, _unannounced)
        shutil.rmtree(directory)


async def run_part(machine: Machine, name: str, launch: Launch) -> int:
    """Start one part by itself; its pid. Its log is where the supervisor would write it."""
    make_directory(machine.layout.run, 0o711)
    log = make_directory(machine.layout.logs) / f"{name}.log"
    return spawn(launch, machine.launch_file(name), machine.process_environment(), log)


async def start_postgres(machine: Machine) -> int:
    """PostgreSQL with its database and roles; its pid."""
    postgres = Postgres(machine.postgres_paths)
    pid = await run_part(machine, POSTGRES, await postgres.prepare())
    await postgres.wait_until_ready()
    await postgres.ensure_database()
    return pid


async def start_containerd(machine: Machine) -> int:
    layout = machine.layout
    root, run = layout.data / "containerd", layout.run / "containerd"
    return await run_part(machine, "containerd", prepare_containerd(root, run, layout.containerd_socket))


async def start_engine(machine: Machine) -> int:
    """An engine of our own for apps; its pid."""
    url = f"unix://{machine.layout.engine_socket}"
    save_settings(machine.layout, {"engine_url": url})
    pid = await run_part(machine, ENGINE, prepare_engine(machine.engine_plan))
    await wait_for_engine(url, "The container engine")
    return pid


async def start_build_engine(machine: Machine) -> int:
    """The engine of builds, with bridge, disk and limits; its pid."""
    pid = await run_part(machine, BUILD_ENGINE, await BuildEngine(machine.build_plan).prepare())
    await wait_for_engine(f"unix://{machine.layout.build_engine_socket}", "The build engine")
    return pid


async def _start(machine: Machine, parts: Collection[str]) -> None:
    if POSTGRES in parts:
        await start_postgres(machine)
    if {ENGINE, BUILD_ENGINE, NETWORK} & set(parts):
        await open_network(machine)
    if {ENGINE, BUILD_ENGINE} & set(parts):
        await start_containerd(machine)
    if ENGINE in parts:
        await start_engine(machine)
    if BUILD_ENGINE in parts:
        await start_build_engine(machine)


def _unannounced(_: Progress) -> None:
    return None
