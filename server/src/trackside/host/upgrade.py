"""The upgrade: another version is prepared beside the present one, which serves meanwhile, and then takes over.

The present version prepares the next one (see `preparation`) and hands over to it: this is carried out by the new one, for each
knows best how it is run itself. Until the last step the present version stays the current one: whatever is killed, a start
runs it again, and the same command given again goes on. Containers, engines, PostgreSQL and HAProxy are left alone.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from trackside.host.commands import find_program
from trackside.host.errors import PartFailed, UpgradeFailed, VersionUnusable
from trackside.host.files import make_directory, write_text
from trackside.host.installation import exclusively
from trackside.host.launch import read_launch
from trackside.host.layout import Layout
from trackside.host.machine import WATCHER, Machine
from trackside.host.postgres import Postgres
from trackside.host.preparation import Wish, announced
from trackside.host.process_table import read_process
from trackside.host.processes import Supervisor
from trackside.host.shares import make_groups, move
from trackside.host.start import LEAST_FREE_BYTES, PROGRAMS, Announce, check_free
from trackside.host.supervisor_config import supervisor_conf
from trackside.host.upgrade_plan import (
    ONTO,
    SERVES_ON,
    Step,
    configuration_between,
    restart_order,
)
from trackside.host.upgrade_record import Outcome, Record, read_record, write_record
from trackside.host.versions import (
    Version,
    current_version,
    is_prepared,
    make_current,
    own_version,
    remove_unused,
)
from trackside.kit.errors import TracksideError

STEADY_SECONDS = 5
STAYING_UP_SECONDS = 15
API_SECONDS = 60
KEPT_SNAPSHOTS = 3
UNCHANGED = "The version {} runs on, unchanged."
BACK = "The version {} runs again; what was added to the schemas stays, and is in nobody's way."


@dataclass(frozen=True)
class Duties:
    """What an upgrade asks of the new version's own code.

    `look` tells which migrations are to come and refuses schemas that only a newer version knows (unless allowed); `widen` runs
    them; `works` returns when work that was put in is done and the edge has reported since a moment.
    """

    look: Callable[[bool], Awaitable[Sequence[str]]]
    widen: Callable[[], Awaitable[None]]
    works: Callable[[datetime], Awaitable[None]]


@dataclass
class Upgraded:
    """What an upgrade did, or would do. `api_seconds`: for how long the API did not answer; `left`: what it could not clear away
    when it was done, each a sentence.
    """

    before: Version
    after: Version
    migrations: Sequence[str] = ()
    restarted: Sequence[str] = ()
    snapshot: str = ""
    api_seconds: float = 0.0
    left: Sequence[str] = ()


@dataclass
class _Upgrade:
    """One upgrade under way, carried out by the new version."""

    machine: Machine
    duties: Duties
    wish: Wish
    record: Record
    done: Upgraded

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.machine.supervisor_plan({}), self.machine.layout.supervisor_config)

    @property
    def has_begun(self) -> bool:
        """Whether some process may be of the new version already, by this upgrade or by a killed one."""
        return self.machine.layout.before_upgrade.exists() and not self.wish.is_dry

    def note(self, **changes: str) -> None:
        self.record = replace(self.record, **changes)  # pyright: ignore[reportArgumentType]
        if not self.wish.is_dry:
            write_record(self.machine.layout, self.record)

    async def examine(self) -> None:
        for program in PROGRAMS:
            find_program(program)
        for directory in (self.machine.layout.home, self.machine.layout.data):
            check_free(directory, LEAST_FREE_BYTES)
        self.done.migrations = await self.duties.look(self.wish.allow_downgrade)
        self.done.restarted = (WATCHER, *restart_order(self.machine.options.processes))

    async def snapshot(self) -> None:
        """One upgrade saves once, however often it is begun: what is saved is the state before it."""
        if self.record.snapshot and Path(self.record.snapshot).exists():
            return
        directory = make_directory(self.machine.layout.backups, 0o700)
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        file = directory / f"before-{self.record.to_number}-{moment}.dump"
        unfinished = file.with_suffix(".part")
        await Postgres(self.machine.postgres_paths).dump(unfinished)
        unfinished.rename(file)
        self.note(snapshot=str(file))
        for old in sorted(directory.glob("before-*.dump"), key=lambda found: found.stat().st_mtime)[:-KEPT_SNAPSHOTS]:
            old.unlink()
        for left in directory.glob("*.part"):
            left.unlink()

    async def migrate(self) -> None:
        await self.duties.widen()

    async def restart(self) -> None:
        """Each process onto this version, the next one when that one stays up."""
        layout, names = self.machine.layout, self.done.restarted
        before = self._keep_what_was()
        parts = {name: read_launch(self.machine.launch_file(name)) for name in _parts(self.machine, before)}
        plan = self.machine.supervisor_plan(parts)
        write_text(layout.watch_file, Supervisor(plan, layout.supervisor_config).watch.as_json(), 0o600)
        await make_groups(layout)
        await asyncio.to_thread(move, layout, self.supervisor.holders(), parts)
        after = supervisor_conf(plan)
        for number, name in enumerate(names, start=1):
            began = time.monotonic()
            self._write_launch(name)
            await self.supervisor.take_over(configuration_between(before, after, names[:number]))
            await self.supervisor.start(name)
            if name == "gateway":
                await self._wait_for_api(self.done.after)
                self.done.api_seconds = time.monotonic() - began
            await self.supervisor.wait_until_steady(name)

    async def verify(self) -> None:
        """A workspace that was made meanwhile has the former version's schema: widened too."""
        await self.duties.widen()
        try:
            async with asyncio.timeout(STAYING_UP_SECONDS):
                while await self._unsteady():
                    await asyncio.sleep(0.1)
            await self._wait_for_api(self.done.after)
            statuses = {status.name: status for status in await self.supervisor.status()}
            if edge := statuses.get("edge"):
                await self.duties.works(datetime.now(UTC) - timedelta(seconds=edge.uptime_seconds + 1))
        except (TimeoutError, TracksideError) as failed:
            unsteady = await self._unsteady()
            words = [
                f"`{name}` does not stay up. Its last words: {self.supervisor.last_words(name)}" for name in unsteady
            ]
            raise PartFailed("; ".join(words) or _said(failed)) from failed

    async def switch(self) -> None:
        layout = self.machine.layout
        if SERVES_ON in self.machine.options.processes:
            self._write_launch(SERVES_ON)  # for when it is started next
        make_current(layout, self.done.after)
        self.note(outcome=Outcome.UPGRADED)

    async def go_back(self, reason: str) -> None:
        """Run again what ran before. Errors: `UpgradeFailed` where that did not work."""
        layout, supervisor = self.machine.layout, self.supervisor
        try:
            make_current(layout, self.done.before)
            for file in (layout.before_upgrade / "launch").iterdir():
                shutil.copy2(file, layout.launches / file.name)
            shutil.copy2(layout.before_upgrade / layout.watch_file.name, layout.watch_file)
            await supervisor.take_over(
                (layout.before_upgrade / layout.supervisor_config.name).read_text(encoding="utf-8")
            )
            for name in self.done.restarted:
                await supervisor.start(name)
            for name in self.done.restarted:
                await supervisor.wait_until_steady(name)
            await self._wait_for_api(self.done.before)
        except (TracksideError, OSError) as failed:
            raise UpgradeFailed(
                f"{reason} Going back to {self.done.before.number} did not work either: {failed}",
                hint="Apps are served on. Start what is missing: `bin/trackside server start`.",
            ) from failed
        self.note(outcome=Outcome.WENT_BACK, reason=reason)
        shutil.rmtree(layout.before_upgrade, ignore_errors=True)

    def _keep_what_was(self) -> str:
        """Keep how the processes were run, in one step and once; the supervisor's configuration as it was."""
        layout = self.machine.layout
        if not layout.before_upgrade.exists():
            beside = layout.before_upgrade.with_name(f".{layout.before_upgrade.name}")
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(layout.launches, beside / "launch")
            for file in (layout.supervisor_config, layout.watch_file):
                shutil.copy2(file, beside / file.name)
            beside.rename(layout.before_upgrade)
        return (layout.before_upgrade / layout.supervisor_config.name).read_text(encoding="utf-8")

    def _write_launch(self, name: str) -> None:
        machine = self.machine
        launch = machine.watcher_launch if name == WATCHER else machine.platform_launch(name)
        write_text(machine.launch_file(name), machine.supervised(name, launch).as_json(), 0o600)

    async def _unsteady(self) -> list[str]:
        """Processes that are not up, or not long enough, or not of this version."""
        statuses = {status.name: status for status in await self.supervisor.status()}
        found: list[str] = []
        for name in self.done.restarted:
            status = statuses.get(name)
            process = read_process(status.pid) if status else None
            is_new = process is not None and process.command.startswith(f"{self.done.after.python} ")
            if not is_new or not status or status.state != "RUNNING" or status.uptime_seconds < STEADY_SECONDS:
                found.append(name)
        return found

    async def _wait_for_api(self, version: Version) -> None:
        if "gateway" not in self.machine.options.processes:
            return
        host = self.machine.options.api_host
        address = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
        url = f"http://{address}:{self.machine.installation.api_port}/v1/version"
        try:
            async with asyncio.timeout(API_SECONDS), httpx.AsyncClient(trust_env=False) as client:
                while await _version_at(client, url) != version.number:
                    await asyncio.sleep(0.02)
        except TimeoutError as late:
            raise PartFailed(f"The API did not answer as version {version.number}.") from late


async def _version_at(client: httpx.AsyncClient, url: str) -> str:
    try:
        answer = await client.get(url)
        return str(answer.json()["version"]) if answer.is_success else ""
    except (httpx.HTTPError, ValueError, KeyError):
        return ""


def _parts(machine: Machine, configuration: str) -> list[str]:
    """Programs of the configuration that an upgrade leaves as they are, in their order."""
    names = [line[len("[program:") : -1] for line in configuration.splitlines() if line.startswith("[program:")]
    return [name for name in names if name not in (WATCHER, *machine.options.processes)]


async def upgrade(machine: Machine, wish: Wish, duties: Duties, announce: Announce) -> Upgraded:
    """Have this process's own version take over from the current one, or go on where a killed upgrade stopped.

    Errors: `VersionUnusable`, `UpgradeFailed` (its sentence tells which version runs), `StartInProgress`.
    """
    layout, own = machine.layout, own_version()
    if not is_prepared(own.directory):
        raise VersionUnusable("Only a version that was prepared can take over.")
    with exclusively(layout.lock_file):
        record = _record(machine, own)
        before = Version(record.from_number, Path(record.from_directory))
        under_way = _Upgrade(machine, duties, wish, record, Upgraded(before, own))
        for step in ONTO[:1] if wish.is_dry else ONTO:
            under_way.note(step=step.name)
            await announced(step, lambda step=step: _guarded(under_way, step), announce)
        under_way.done.snapshot = under_way.record.snapshot
        if not wish.is_dry:  # the new version runs by now: nothing that fails from here on takes that back
            under_way.done.left = clear_up(layout, (before, own))
    return under_way.done


def clear_up(layout: Layout, keep: Sequence[Version]) -> list[str]:
    """Remove what only the upgrade needed, and versions other than `keep`; a sentence for each thing that could not be removed."""
    shutil.rmtree(layout.before_upgrade, ignore_errors=True)
    try:
        left = [directory for directory in (layout.before_upgrade, *remove_unused(layout, keep)) if directory.exists()]
    except OSError as failed:
        return [f"Versions that nobody needs may be left in {layout.versions}: {failed}."]
    return [f"{directory} could not be removed." for directory in left]


def _record(machine: Machine, own: Version) -> Record:
    """Of the upgrade under way, where it was to this version and was cut off; else a new one."""
    layout, last = machine.layout, read_record(machine.layout)
    is_cut_off = last is not None and last.outcome is Outcome.RUNNING
    if last and is_cut_off and last.to_directory == str(own.directory):
        return last
    if not is_cut_off:
        shutil.rmtree(
            layout.before_upgrade, ignore_errors=True
        )  # of one that ended, and was killed while it cleared up
    before = current_version(layout)
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(before.number, str(before.directory), own.number, str(own.directory), moment)


async def _guarded(under_way: _Upgrade, step: Step) -> None:
    """The step; where it fails, whatever it is, the version before runs on or runs again. Errors: `UpgradeFailed`."""
    try:
        await getattr(under_way, step.name)()
    except BaseException as failed:
        reason = f"{step.sentence[0].upper()}{step.sentence[1:]} failed: {_said(failed)}"
        outcome = BACK if under_way.has_begun else UNCHANGED
        if under_way.has_begun:
            await under_way.go_back(reason)
        else:
            under_way.note(outcome=Outcome.REFUSED, reason=reason)
        if not isinstance(failed, Exception):
            raise  # told to stop, or to end
        hint = UpgradeFailed.hint
        if isinstance(failed, TracksideError) and not isinstance(failed, PartFailed):  # whose hint is about a start
            hint = failed.hint
        raise UpgradeFailed(f"{reason} {outcome.format(under_way.done.before.number)}", hint=hint) from failed


def _said(failed: BaseException) -> str:
    """The error in one sentence."""
    said = failed.sentence if isinstance(failed, TracksideError) else f"{type(failed).__name__}: {failed}"
    first = said.strip().splitlines()[0].strip()
    return first if first.endswith(".") else f"{first}."
