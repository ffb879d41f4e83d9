"""Finds and clears what an installation has left on the machine that is gone: its state directory was removed while things of it
stood, or a kill came between.

A thing is known by the installation's id in its name or label; ids are random, so a likeness is no accident.
"""

import asyncio
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path

import aiodocker
import aiohttp

from trackside.host.address_plan import interface_prefix
from trackside.host.cgroups import system_hierarchies
from trackside.host.commands import attempt
from trackside.host.engine import (
    INSTALLATION_LABEL,
    USUAL_SOCKET,
    client,
    engine_info,
    image_names,
    remove_images,
)
from trackside.host.errors import DataPresent, ProgramMissing, StateDamaged, StillInUse
from trackside.host.files import make_directory, read_json, write_json
from trackside.host.installation import Installation, layout_of
from trackside.host.layout import REGISTER, Layout
from trackside.host.loop_disk import mounts_below
from trackside.host.machine import Machine
from trackside.host.process_table import INSTALLATION, all_processes, environment_of
from trackside.host.start import Announce
from trackside.host.stop import Stopped, stop

RUN = Path("/run")
NAMED = re.compile(r"trackside[-_]([0-9a-f]{8})(?:-build)?")
Left = Mapping[str, list[str]]
"""Installation → what is left of it, each kind in a few words."""


async def leftovers(register: Path, known: Collection[str], engine_url: str = "") -> Left:
    """What is left of installations that are neither known nor have a state directory. `engine_url`: of the engine to ask."""
    seen = [
        *await asyncio.to_thread(lambda: list(_on_machine(register))),
        *await _tables(),
        *await _on_engine(engine_url),
    ]
    living = {*known, *_registered(register), *await asyncio.to_thread(lambda: set(_at_work()))}
    return unowned(seen, living)


def unowned(seen: Collection[tuple[str, str]], living: Collection[str]) -> Left:
    """Pure. `seen`: (installation, kind of thing) for each thing."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for installation, kind in seen:
        if installation not in living:
            counted[installation][kind] += 1
    return {name: [f"{count} {kind}" for kind, count in kinds.items()] for name, kinds in counted.items()}


def _registered(register: Path) -> Iterator[str]:
    """Installations of the machine whose state directory is there."""
    for file in register.glob("*/installation.json"):
        with suppress(StateDamaged):
            stored = read_json(file) or {}
            if Path(str(stored.get("home", "")), "settings.json").exists():
                yield str(stored["installation"])


def _at_work() -> Iterator[str]:
    """Installations that run from a state directory, in whatever register they are."""
    for process in all_processes():
        environment = environment_of(process.pid)
        home = environment.get("TRACKSIDE_HOME", "")
        if home and Path(home, "settings.json").exists():
            yield environment.get("TRACKSIDE_INSTALLATION", "")


def _on_machine(register: Path) -> Iterator[tuple[str, str]]:
    for path in register.glob("*/"):
        if INSTALLATION.fullmatch(path.name):
            yield path.name, "data directory"
            if _has_database(path):
                yield path.name, "database"
            yield from ((path.name, "mounts") for _ in mounts_below(path))
    for parent, kind in ((RUN, "run directory"), *((root, "control groups") for root in system_hierarchies().roots)):
        yield from ((match[1], kind) for path in parent.glob("trackside-*/") if (match := NAMED.fullmatch(path.name)))
    for process in all_processes():
        if installation := environment_of(process.pid).get("TRACKSIDE_INSTALLATION"):
            yield installation, "processes"


async def _tables() -> list[tuple[str, str]]:
    with suppress(ProgramMissing):
        words = (await attempt("nft", "list", "tables")).output.split()
        return [(match[1], "firewall table") for word in words if (match := NAMED.fullmatch(word))]
    return []


async def _on_engine(url: str) -> list[tuple[str, str]]:
    """What carries the label of any installation on this machine's engine; one elsewhere serves other machines too."""
    if not url.startswith("unix://") or await engine_info(url) is None:
        return []
    filters = {"label": [INSTALLATION_LABEL]}
    async with client(url) as docker:
        containers = await docker.containers.list(all=True, filters=filters)  # pyright: ignore[reportUnknownMemberType]
        networks = await docker.networks.list(filters=filters)
        names = await image_names(docker)
    found = [(str(one["Labels"][INSTALLATION_LABEL]), "containers") for one in containers]
    found += [(str(one["Labels"][INSTALLATION_LABEL]), "networks") for one in networks]
    for name in names:
        first, _, rest = name.partition("/")
        if first == "trackside" and INSTALLATION.fullmatch(installation := rest.partition("/")[0]):
            found.append((installation, "images"))
    return found


async def clear(
    installation: str, announce: Announce, register: Path = REGISTER, engine_url: str = "", *, with_data: bool = False
) -> Stopped:
    """Remove all that is left of an installation whose state directory is gone: what a stop ends, its images and its data.

    Errors: `StillInUse` where it is not gone; `DataPresent` where a database is left, unless `with_data`; `StateDamaged` for what
    is no installation's id.
    """
    if not INSTALLATION.fullmatch(installation):
        raise StateDamaged(
            f"`{installation}` is no installation's id.",
            hint="`bin/trackside server doctor` names those that left something.",
        )
    if installation in {*_registered(register), *await asyncio.to_thread(lambda: set(_at_work()))}:
        raise StillInUse(f"The installation {installation} has its state directory yet: nothing was cleared.")
    machine = _machine_of(installation, register)
    layout = machine.layout
    if not with_data:
        _refuse_data(layout)
    url = engine_url or f"unix://{USUAL_SOCKET}"
    make_directory(layout.home)
    write_json(layout.settings_file, {"engine_url": url} if await engine_info(url) else {})
    report = await stop(machine, announce)
    with suppress(aiodocker.DockerError, aiohttp.ClientError, OSError):
        await remove_images(url, installation)
    if not mounts_below(layout.data):
        shutil.rmtree(layout.data)
    return report


def _refuse_data(layout: Layout) -> None:
    """A state directory may be gone for now only: nothing that cannot be made anew is deleted unasked. Errors: `DataPresent`."""
    if not _has_database(layout.data):
        return
    size = sum(_size(Path(place, name)) for place, _, names in os.walk(layout.postgres_data) for name in names)
    written = datetime.fromtimestamp((layout.postgres_data / "PG_VERSION").stat().st_mtime, UTC)
    home = (read_json(layout.record_file) or {}).get("home", "unknown")
    raise DataPresent(
        f"The database of {layout.installation} is left in {layout.postgres_data} ({size / 1e6:.0f} MB, made {written:%Y-%m-%d}): "
        f"every project, deployment and variable of the platform whose state directory was {home}. Nothing was cleared."
    )


def _size(file: Path) -> int:
    """In bytes; the database may run yet, and remove it meanwhile."""
    with suppress(FileNotFoundError):
        return file.lstat().st_size
    return 0


def _has_database(data: Path) -> bool:
    return (data / "postgres" / "PG_VERSION").exists()


def _machine_of(installation: str, register: Path) -> Machine:
    """Its parts, with the state directory, which is gone, in the data directory, which goes with all."""
    nowhere = IPv4Network("0.0.0.0/32")
    gone = Installation(installation, 0, 0, nowhere, nowhere, interface_prefix(installation))
    return Machine(layout_of(gone, register / installation / "state", register), gone)
