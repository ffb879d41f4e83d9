"""The platform's processes under their supervisor (supervisord): started, stopped, restarted, watched."""

import asyncio
import os
import resource
import signal
import sys
import xmlrpc.client
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackside.host import locks
from trackside.host.errors import PartFailed
from trackside.host.files import make_directory, write_text
from trackside.host.launch import Launch
from trackside.host.process_table import (
    environment_of,
    is_alive,
    memory_bytes,
    memory_of_tree,
    read_pid,
    uptime_seconds,
)
from trackside.host.spawning import launch_argv, spawn
from trackside.host.supervisor_config import FINGERPRINT, SupervisorPlan, supervisor_conf
from trackside.host.supervisor_rpc import SupervisorRpc
from trackside.host.watcher import Watch

WANTED_DESCRIPTORS = 65_536
READY_SECONDS = 15
OWN_LOCK = "supervisor"
ALREADY = frozenset({60, 70, 10})
"""The supervisor's fault codes for: started already, not running, no such process."""


@dataclass(frozen=True)
class ProcessStatus:
    """One process. `state` is the supervisor's word (`RUNNING`, `STARTING`, `BACKOFF`, `STOPPED`, `EXITED`, `FATAL`), or
    `HANGING` for one that runs and does not answer;
    `memory_bytes` is the whole process tree's; the supervisor's, under which all others stand, its own."""

    name: str
    pid: int
    state: str
    uptime_seconds: int
    memory_bytes: int


class Supervisor:
    """One supervisor and what it runs. `config_file` is written anew at every start."""

    def __init__(self, plan: SupervisorPlan, config_file: Path) -> None:
        self._plan = plan
        self._config_file = config_file
        self._rpc = SupervisorRpc(plan.socket)

    async def is_running(self) -> bool:
        with suppress(OSError, TimeoutError, xmlrpc.client.Error):
            return bool(await self._rpc.call("getState", seconds=5))
        return False

    async def ensure(self, environment: Mapping[str, str]) -> None:
        """Have the supervisor up with this plan; a running one takes over what changed. Errors: `PartFailed`."""
        make_directory(self._plan.logs)
        if await self.is_running():
            await self.take_over(supervisor_conf(self._plan))
            return
        write_text(self._config_file, supervisor_conf(self._plan), 0o600)
        spawn(self._launch, self._launch_file, environment)
        await self._wait_until_running()
        for process in self._plan.processes:
            pid = self.holder(process.name)
            if pid and environment_of(pid).get(FINGERPRINT, process.fingerprint) != process.fingerprint:
                await self._end_predecessor(process.name)

    async def start(self, name: str) -> None:
        """Have the process started; no error where it runs. Errors: `PartFailed`."""
        await self._tolerating("startProcess", name, False)

    async def stop(self, name: str) -> None:
        """Have the process ended, by force after its time; no error where it does not run."""
        seconds = next((process.stop_seconds for process in self._plan.processes if process.name == name), 15)
        await self._tolerating("stopProcess", name, True, seconds=seconds + 10)
        await self._end_predecessor(name)

    async def _end_predecessor(self, name: str) -> None:
        """One that an earlier supervisor has left: only its successor, which waited for it, has been stopped by now."""
        process = next((process for process in self._plan.processes if process.name == name), None)
        pid = self.holder(name)
        if process is None or pid is None:
            return
        for which, seconds in (
            (signal.Signals[f"SIG{process.stop_signal}"], process.stop_seconds),
            (signal.SIGKILL, 5),
        ):
            with suppress(ProcessLookupError):
                os.kill(pid, which)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while self.holder(name) == pid:
                        await asyncio.sleep(0.02)
                return

    def signal(self, name: str, which: signal.Signals) -> None:
        """Send a signal to the process itself, where it runs."""
        if pid := self.holder(name):
            with suppress(ProcessLookupError):
                os.kill(pid, which)

    def holder(self, name: str) -> int | None:
        """The process that does the work of this name: the supervisor's own, or one that an earlier one has left."""
        return locks.holder(self._plan.locks / name)

    def holders(self) -> dict[str, int]:
        """The processes that do their work, by name."""
        found = {process.name: self.holder(process.name) for process in self._plan.processes}
        return {name: pid for name, pid in found.items() if pid is not None}

    def unwatched(self) -> list[str]:
        """What does its work though no supervisor has to be there: whatever earlier ones have left."""
        files = sorted(self._plan.locks.glob("*"))
        return [file.name for file in files if file.name != OWN_LOCK and locks.holder(file) is not None]

    async def status(self) -> list[ProcessStatus]:
        """Every process, the supervisor itself first. Empty where no supervisor runs."""
        try:
            listed: list[dict[str, Any]] = await self._rpc.call("getAllProcessInfo", seconds=10)
        except (OSError, TimeoutError):
            return []
        numbers = {str(info["name"]): int(info["start"]) for info in listed}
        found = [await asyncio.to_thread(_status_of, info, self.holder(str(info["name"]))) for info in listed]
        own_pid = int(await self._rpc.call("getPID", seconds=10))
        own = ProcessStatus("supervisor", own_pid, "RUNNING", uptime_seconds(own_pid), memory_bytes(own_pid))
        return [own, *sorted(found, key=lambda status: numbers[status.name])]

    async def pid(self) -> int | None:
        """The supervisor's own, by its pid file, where it lives."""
        pid = read_pid(self._plan.pid_file)
        return pid if pid and is_alive(pid, command_has=str(self._config_file)) else None

    async def shut_down(self, seconds: float = 60) -> None:
        """End the supervisor and what is left under it."""
        pid = await self.pid()
        with suppress(OSError, TimeoutError, xmlrpc.client.Error):
            await self._rpc.call("shutdown", seconds=seconds)
        async with asyncio.timeout(seconds):
            while pid and is_alive(pid, command_has=str(self._config_file)):
                await asyncio.sleep(0.05)

    async def wait_until_steady(self, name: str, seconds: float = 30) -> None:
        """Return when the process has been up for a second. Errors: `PartFailed` with the end of its log."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await self._rpc.call("getProcessInfo", name))["statename"] != "RUNNING":
                    await asyncio.sleep(0.05)
                return
        raise PartFailed(f"`{name}` does not stay up. Its last words: {self.last_words(name)}", hint=self._hint(name))

    def last_words(self, name: str) -> str:
        """The last line of a process's log."""
        with suppress(OSError):
            lines = (self._plan.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "(none)"
        return "(none)"

    def _hint(self, name: str) -> str:
        return f"Read {self._plan.logs / f'{name}.log'}, then try again: `bin/trackside server start`."

    async def _tolerating(self, method: str, *parameters: object, seconds: float = 60) -> None:
        try:
            await self._rpc.call(method, *parameters, seconds=seconds)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in ALREADY:
                name = str(parameters[0])
                raise PartFailed(f"`{name}`: {fault.faultString}", hint=self._hint(name)) from fault

    async def take_over(self, configuration: str) -> None:
        """Have the running supervisor adopt a configuration: stops each program whose section changed, and starts none."""
        write_text(self._config_file, configuration, 0o600)
        (added, changed, removed), *_ = await self._rpc.call("reloadConfig")
        for name in (*removed, *changed):
            await self.stop(name)
            await self._tolerating("removeProcessGroup", name)
        for name in (*added, *changed):
            await self._tolerating("addProcessGroup", name)

    async def _wait_until_running(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await self.is_running():
                    await asyncio.sleep(0.05)
        except TimeoutError as late:
            raise PartFailed("The supervisor did not come up.", hint=self._hint("supervisor")) from late

    @property
    def watch(self) -> Watch:
        """What the watcher is given."""
        names = [process.name for process in self._plan.processes]
        lock, argv = str(self._plan.locks / OWN_LOCK), launch_argv(self._launch_file)
        return Watch(argv, lock, str(self._plan.socket), names, str(self._plan.logs), str(self._plan.alive))

    @property
    def _launch_file(self) -> Path:
        return self._config_file.with_suffix(".json")

    @property
    def _launch(self) -> Launch:
        """It adopts what its processes leave behind, so that no dead process waits for ever for someone to take note."""
        argv = (sys.executable, "-m", "trackside.host.supervising", "-c", str(self._config_file))
        lock = str(self._plan.locks / OWN_LOCK)
        return Launch(
            argv=argv,
            directory=str(self._plan.directory),
            adopts_orphans=True,
            lock=lock,
            gives_up=True,
            share=self._plan.share,
        )


def descriptors() -> int:
    """How many open files a process may have at most; raised for this process and its children where we may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < WANTED_DESCRIPTORS:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (WANTED_DESCRIPTORS, WANTED_DESCRIPTORS))
            return WANTED_DESCRIPTORS
    return min(hard, WANTED_DESCRIPTORS)


def _status_of(info: dict[str, Any], holder: int | None) -> ProcessStatus:
    """As the supervisor sees it; while its process waits for a predecessor, that one's."""
    pid = holder or int(info["pid"])
    uptime = uptime_seconds(pid) if pid else 0
    return ProcessStatus(str(info["name"]), pid, str(info["statename"]), uptime, memory_of_tree(pid) if pid else 0)
