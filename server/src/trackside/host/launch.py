"""Becomes a part of the platform: puts right what a crash left behind, then turns into the program.

The supervisor runs `python -m trackside.host.launch <file>` each time it starts or restarts a part, so that whatever must be
true before a program starts is made true every time, not only at the platform's start. The standard library only: this runs
at every restart and must be quick.
"""

import ctypes
import json
import os
import pwd
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from trackside.host import locks
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.process_table import all_processes, is_alive, read_pid, works_in

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
INIT = 1


@dataclass(frozen=True)
class Launch:
    """How a part is started.

    `pid_files` maps a pid file to text in the command line of its true owner: a file whose process is gone, or is another
    one by now, would make the program refuse, so it is removed. `wait_for` is a file that must exist first. A program that
    `adopts_orphans` becomes the parent of what its descendants leave behind. `alone_in` is a directory in which no process of a
    killed predecessor may still work. `share` is the control group whose share of the processors it has: where that is not there it
    goes without, while it must get into its `control_group`. `lock` is held for as long as the part runs: it waits there for its
    predecessor, with its parent's life unless it `waits_on`, or gives up where it `gives_up`. What it says goes to the end of `log`.
    """

    argv: tuple[str, ...]
    pid_files: dict[str, str] = field(default_factory=dict[str, str])
    environment: dict[str, str] = field(default_factory=dict[str, str])
    control_group: str = ""
    user: str = ""
    wait_for: str = ""
    directory: str = "/"
    adopts_orphans: bool = False
    alone_in: str = ""
    lock: str = ""
    gives_up: bool = False
    waits_on: bool = False
    log: str = ""
    share: str = ""

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def read_launch(path: Path) -> Launch:
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known: dict[str, Any] = {one.name: stored[one.name] for one in fields(Launch) if one.name in stored}
    known["argv"] = tuple(stored["argv"])
    return Launch(**known)  # a later version may have written more


def remove_stale_pid_files(pid_files: dict[str, str], *, seconds: float = 10) -> None:
    """Remove pid files whose owner is gone; one that is just dying is waited for."""
    for name, owner in pid_files.items():
        deadline = time.monotonic() + seconds
        while (pid := read_pid(Path(name))) and is_alive(pid, command_has=owner) and time.monotonic() < deadline:
            time.sleep(0.05)
        if pid and not is_alive(pid, command_has=owner):
            Path(name).unlink(missing_ok=True)


def end_leftovers(directory: Path, *, seconds: float = 2) -> None:
    """Wait for what a killed predecessor has left in its directory; end what does not end by itself.

    Only in a directory of PostgreSQL's, where nobody else has business: in another one processes of others could work.
    """
    if not (directory / "PG_VERSION").is_file():
        return
    for which in (None, signal.SIGQUIT, signal.SIGKILL):
        left = [process.pid for process in all_processes() if works_in(process.pid, directory)]
        for pid in left if which else ():
            with suppress(ProcessLookupError):
                os.kill(pid, which or 0)
        deadline = time.monotonic() + seconds
        while any(is_alive(pid) for pid in left) and time.monotonic() < deadline:
            time.sleep(0.02)


def write_to(log: Path) -> None:
    """Have output and errors added to this file, which outlives whoever started this process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


@contextmanager
def ending_with_its_parent() -> Generator[None]:
    """Meanwhile a killed supervisor takes this process with it.

    The next supervisor has another one wait for the same lock. What nobody knew of would get to work once all others were stopped.
    """
    parent = os.getppid()
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent or parent == INIT:
        sys.exit("Nobody is there to wait for it.")
    yield
    prctl(PR_SET_PDEATHSIG, 0)


def hold(launch: Launch) -> None:
    """Take the part's lock, where it has one."""
    if launch.lock and not launch.gives_up:
        with nullcontext() if launch.waits_on else ending_with_its_parent():
            locks.take(Path(launch.lock))
    elif launch.lock and not locks.take_or_leave(Path(launch.lock)):
        sys.exit("It runs already.")


def become(launch: Launch) -> None:
    """Turn into the program. Does not return."""
    if launch.log:
        write_to(Path(launch.log))
    hold(launch)
    while launch.wait_for and not Path(launch.wait_for).exists():
        time.sleep(0.1)
    remove_stale_pid_files(launch.pid_files)
    if launch.alone_in and not any(Path(name).exists() for name in launch.pid_files):
        end_leftovers(Path(launch.alone_in))
    if launch.control_group:
        ControlGroups(system_hierarchies()).join(launch.control_group, os.getpid())
    if launch.share:
        with suppress(OSError):
            ControlGroups(system_hierarchies()).join(launch.share, os.getpid())
    if launch.adopts_orphans:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    environment = {**os.environ, **launch.environment}
    os.chdir(launch.directory)
    if launch.user:
        account = pwd.getpwnam(launch.user)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    os.execve(launch.argv[0], launch.argv, environment)


if __name__ == "__main__":
    become(read_launch(Path(sys.argv[1])))
