"""The stop: ends exactly what was started, in order, and finds it even where the supervisor is gone.

What stays: packages, the state directory, the database, images, and the records of deployments, so that the next start finds
and serves them again.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import aiodocker
import aiohttp

from trackside.host.bridges import LEAST_PREFIX, remove_bridges
from trackside.host.builds import BuildEngine
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.commands import attempt
from trackside.host.ending import end
from trackside.host.engine import USUAL_SOCKET, engine_info, remove_containers, remove_networks
from trackside.host.errors import PartFailed, StateDamaged
from trackside.host.files import read_json
from trackside.host.firewall import Firewall
from trackside.host.installation import exclusively
from trackside.host.kernel import KernelSettings
from trackside.host.loop_disk import mounts_below
from trackside.host.machine import WATCHER, Machine
from trackside.host.process_table import INSTALLATION, Process, family, processes_of, read_process
from trackside.host.processes import Supervisor
from trackside.host.start import Announce, Progress

SETTLE_SECONDS, SETTLE_LOOKS = 0.3, 20
"""Between looks for containers, and how many at most: an engine needs up to some seconds for what it was asked to make."""
HAPROXY_DRAIN_SECONDS = 5


@dataclass
class Stopped:
    """What a stop ended, and what it could not (each a sentence)."""

    containers: int = 0
    processes: int = 0
    remaining: list[str] = field(default_factory=list[str])


@dataclass
class _Stop:
    """One stop under way."""

    machine: Machine
    report: Stopped = field(default_factory=Stopped)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.machine.supervisor_plan({}), self.machine.layout.supervisor_config)

    async def stop_platform(self) -> None:
        """The edge first, so that no request reaches what is about to go; PostgreSQL last of all, elsewhere.

        What a killed supervisor ran answers to no other one, and a deployer makes containers as long as it lives.
        """
        if await self.supervisor.is_running():
            await self._stop_supervised()
        else:
            await end(lambda: self._holders(WATCHER), self.machine.layout)  # who would bring back another one
            await end(self._supervisors, self.machine.layout)
        await end(self._at_work, self.machine.layout)

    async def _stop_supervised(self) -> None:
        await asyncio.gather(self._stop_quietly(WATCHER), self._stop_quietly("watchdog"))
        self.supervisor.signal("haproxy", signal.SIGUSR1)
        with suppress(TimeoutError):
            async with asyncio.timeout(HAPROXY_DRAIN_SECONDS):
                while await self._is_up("haproxy"):
                    await asyncio.sleep(0.05)
        names = tuple(reversed(self.machine.options.processes))
        await asyncio.gather(*(self._stop_quietly(name) for name in names))

    @property
    def engine_url(self) -> str:
        """Of the engine that runs apps; "" where none was chosen yet."""
        return str((read_json(self.machine.layout.settings_file) or {}).get("engine_url", ""))

    @property
    def is_engine_ours(self) -> bool:
        return self.engine_url in {"", f"unix://{self.machine.layout.engine_socket}"}

    async def remove_apps(self) -> None:
        """Containers and networks that carry our label. On an engine that is not ours nothing else is touched.

        Looked for until none is found: what a deployer asked for last the engine may still be making when the deployer has ended.
        """
        url = self.engine_url
        if not url or await engine_info(url) is None:
            if not self.is_engine_ours:
                self.report.remaining.append(
                    f"The engine at {url} does not answer: containers of ours may remain on it."
                )
            return
        try:
            for _ in range(SETTLE_LOOKS):
                removed = await remove_containers(url, self.machine.layout.installation)
                self.report.containers += removed
                if not removed:
                    break
                await asyncio.sleep(SETTLE_SECONDS)
            await remove_networks(url, self.machine.layout.installation)
        except (aiodocker.DockerError, aiohttp.ClientError) as refused:
            self.report.remaining.append(f"The engine at {url} refused: {refused}")

    async def stop_engines(self) -> None:
        if await self.supervisor.is_running():
            for name in ("build-engine", "engine", "containerd", "postgres"):
                await self._stop_quietly(name)
            with suppress(TimeoutError):
                await self.supervisor.shut_down()

    async def end_processes(self) -> None:
        """Whatever of ours still lives: told by what it carries.

        The platform's own processes first, then what runs in containers, then containerd: an engine without it takes long.
        """
        left = self._processes()
        self.report.processes = len(left)
        late = str(self.machine.layout.run / "containerd")
        layout = self.machine.layout
        await end(lambda: [process for process in self._outside_containers() if late not in process.command], layout)
        groups = ControlGroups(system_hierarchies())
        for group in (layout.apps_group, layout.build_group):
            await asyncio.to_thread(groups.kill, group)
        await end(self._processes, layout)

    async def clear_kernel(self) -> None:
        """Mounts, bridges, rules, settings, control groups, /run."""
        layout = self.machine.layout
        await BuildEngine(self.machine.build_plan).clear()
        for mount in (*mounts_below(layout.run), *mounts_below(layout.data)):
            if (await attempt("umount", mount)).status != 0:
                await attempt("umount", "--lazy", mount)
        await remove_bridges(self.machine.installation.interface_prefix)
        await Firewall(self.machine.firewall_plan(close_uplinks=False)).remove()
        others_forward = await engine_info(f"unix://{USUAL_SOCKET}") is not None
        KernelSettings().release(layout.installation, keep=others_forward)
        for group in layout.control_groups:
            await asyncio.to_thread(ControlGroups(system_hierarchies()).remove, group)
        shutil.rmtree(layout.run, ignore_errors=True)

    async def verify(self) -> None:
        self.report.remaining += [f"process {process.pid}: {process.command}" for process in self._processes()]
        self.report.remaining += [f"mount {mount}" for mount in mounts_below(self.machine.layout.data)]
        groups = ControlGroups(system_hierarchies())
        left = [path for group in self.machine.layout.control_groups for path in groups.existing(group)]
        self.report.remaining += [f"control group {path}" for path in left]

    def _processes(self) -> list[Process]:
        layout = self.machine.layout
        return self._not_this_one(processes_of(layout.installation, layout.data, layout.control_groups))

    def _supervisors(self) -> list[Process]:
        """One that does not answer, or not yet, as when it was just brought back: it starts anew whatever is ended here."""
        own = str(self.machine.layout.supervisor_config.with_suffix(""))
        return [process for process in self._processes() if own in process.command]

    def _at_work(self) -> list[Process]:
        """Who does the work of one of the platform's own processes, whoever started it."""
        return self._holders(*self.machine.options.processes)

    def _holders(self, *names: str) -> list[Process]:
        pids = map(self.supervisor.holder, names)
        return self._not_this_one([process for pid in pids if pid and (process := read_process(pid))])

    def _outside_containers(self) -> list[Process]:
        layout = self.machine.layout
        return self._not_this_one(processes_of(layout.installation, layout.data, ()))

    def _not_this_one(self, found: list[Process]) -> list[Process]:
        spared = family(os.getpid())
        return [process for process in found if process.pid not in spared]

    async def _is_up(self, name: str) -> bool:
        return any(status.name == name and status.pid for status in await self.supervisor.status())

    async def _stop_quietly(self, name: str) -> None:
        """What the supervisor cannot stop is ended by `end_processes`."""
        with suppress(PartFailed, OSError, TimeoutError):
            await self.supervisor.stop(name)


async def stop(machine: Machine, announce: Announce) -> Stopped:
    """Stop the platform, however far it was started and whatever of it is dead. Errors: `StartInProgress`."""
    _refuse_what_is_not_ours(machine)
    with exclusively(machine.layout.lock_file):
        under_way = _Stop(machine)
        steps = _steps(under_way)
        for number, (sentence, step) in enumerate(steps, start=1):
            announce(Progress(number, len(steps), sentence))
            began = asyncio.get_running_loop().time()
            await step()
            announce(Progress(number, len(steps), sentence, asyncio.get_running_loop().time() - began))
    return under_way.report


def _steps(under_way: _Stop) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
    """Apps go while an engine of ours still runs. On another one they go when nobody is left who makes new ones: a deployer whose
    supervisor is dead works until it is ended.
    """
    removal = [("removing the apps' containers and networks", under_way.remove_apps)]
    return (
        ("stopping the edge and the platform's processes", under_way.stop_platform),
        *(removal if under_way.is_engine_ours else ()),
        ("stopping the engines and PostgreSQL", under_way.stop_engines),
        ("ending what is left", under_way.end_processes),
        *(removal if not under_way.is_engine_ours else ()),
        ("clearing mounts, bridges, rules and kernel settings", under_way.clear_kernel),
        ("looking for anything left behind", under_way.verify),
    )


def _refuse_what_is_not_ours(machine: Machine) -> None:
    """A stop ends processes, unmounts and deletes by these marks: each must be one that nothing else on the machine carries.

    Errors: `StateDamaged`.
    """
    layout, prefix = machine.layout, machine.installation.interface_prefix
    names = (layout.data.as_posix(), layout.run.as_posix(), *layout.control_groups, layout.firewall_table)
    is_own = INSTALLATION.fullmatch(layout.installation) and all(layout.installation in name for name in names)
    if not is_own or not layout.installation.startswith(prefix[1:]) or len(prefix) < LEAST_PREFIX:
        raise StateDamaged(f"The settings in {layout.settings_file} do not name an installation: nothing was stopped.")
