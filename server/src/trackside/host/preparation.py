"""The present version's part of an upgrade: the next one is made beside it, complete, and nothing that runs is touched."""

import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trackside.host.commands import attempt
from trackside.host.ending import end
from trackside.host.errors import PartFailed, RightsMissing, UpgradeFailed
from trackside.host.files import make_directory
from trackside.host.installation import exclusively
from trackside.host.launch import read_launch
from trackside.host.machine import Machine
from trackside.host.process_table import Process, all_processes, environment_of
from trackside.host.processes import Supervisor
from trackside.host.start import LEAST_FREE_BYTES, Announce, Progress, check_free
from trackside.host.upgrade_plan import BESIDE, STEPS, Step, refuse_older
from trackside.host.upgrade_record import Outcome, read_record
from trackside.host.version_source import Source, make_version, read_source
from trackside.host.versions import Version, current_version, is_prepared, mark_prepared, version_in
from trackside.kit import failpoints


@dataclass(frozen=True)
class Wish:
    """What was asked for."""

    allow_downgrade: bool = False
    is_dry: bool = False


@dataclass
class _Preparation:
    machine: Machine
    wish: Wish
    packages: Mapping[str, str]
    path: Path
    source: Source | None = None

    @property
    def wanted(self) -> Source:
        self.source = self.source or read_source(self.path)
        return self.source

    @property
    def version(self) -> Version:
        return Version(self.wanted.number, self.machine.layout.versions.resolve() / self.wanted.name)

    async def check(self) -> None:
        layout = self.machine.layout
        if os.geteuid() != 0:
            raise RightsMissing("An upgrade needs root, as the start does.", hint="Give the same command with sudo.")
        refuse_older(current_version(layout), self.wanted, allow_downgrade=self.wish.allow_downgrade)
        for directory in (layout.home, layout.data):
            check_free(directory, LEAST_FREE_BYTES)
        if not await Supervisor(self.machine.supervisor_plan({}), layout.supervisor_config).is_running():
            raise PartFailed(
                "The platform does not run.", hint="Start it, then upgrade it: `bin/trackside server start`."
            )

    async def prepare(self) -> None:
        """A directory without its mark is what a killed upgrade left: made again."""
        version = self.version
        if is_prepared(version.directory):
            return
        await end(lambda: working_on(version.directory), self.machine.layout)
        shutil.rmtree(version.directory, ignore_errors=True)
        make_directory(self.machine.layout.versions)
        await make_version(self.wanted, version.directory, self.packages)
        tried = await attempt(
            *(version.python, "-m", "trackside", "server", "versions", "--json"),
            environment=dict(self.machine.environment),
        )
        made = version_in(version.directory).number
        if tried.status != 0 or made != version.number:
            said = (tried.complaint.strip().splitlines() or [f"it is {made or 'none'}"])[-1]
            raise UpgradeFailed(f"The version {version.number} does not run here: {said}.")
        mark_prepared(version, self.wanted.path)


async def prepare(machine: Machine, path: Path, wish: Wish, packages: Mapping[str, str], announce: Announce) -> Version:
    """Have the version made from `path` beside the present one, complete. Touches nothing that runs.

    `packages` is the environment in which packages are fetched. Errors: `VersionUnusable`, `UpgradeFailed`, `StartInProgress`,
    those of a start's checks.
    """
    preparation = _Preparation(machine, wish, packages, path)
    with exclusively(machine.layout.lock_file):
        for step in BESIDE:
            await announced(step, getattr(preparation, step.name), announce)
    return preparation.version


def is_done(machine: Machine, version: Version) -> bool:
    """Whether the platform was upgraded to this very version, to the end."""
    record = read_record(machine.layout)
    is_current = current_version(machine.layout).directory == version.directory
    return is_current and (record is None or record.outcome is not Outcome.RUNNING)


def handover(machine: Machine, version: Version, wish: Wish, *, as_json: bool) -> tuple[list[str], dict[str, str]]:
    """The command by which the new version goes on, and its environment: settings that were given at the start come along."""
    flags = {"--allow-downgrade": wish.allow_downgrade, "--dry-run": wish.is_dry, "--json": as_json}
    argv = [str(version.python), "-m", "trackside", "server", "upgrade", "--take-over"]
    environment = dict(machine.environment)
    for file in (machine.launch_file(name) for name in machine.options.processes):
        if file.exists():
            environment = read_launch(file).environment | environment
    return [*argv, *(flag for flag, is_set in flags.items() if is_set)], environment


def working_on(directory: Path) -> list[Process]:
    """Processes that a killed upgrade has left preparing this directory: they name it, and nothing else does yet."""
    name = str(directory)
    return [
        process
        for process in all_processes()
        if name in process.command or name in environment_of(process.pid).values()
    ]


async def announced(step: Step, work: Callable[[], Awaitable[None]], announce: Announce) -> None:
    """Do a step, and say so."""
    number = STEPS.index(step) + 1
    announce(Progress(number, len(STEPS), step.sentence))
    began = time.monotonic()
    point = f"upgrade.{step.name}"
    failpoints.declare_around([point])
    with failpoints.around(point):
        await work()
    announce(Progress(number, len(STEPS), step.sentence, time.monotonic() - began))
