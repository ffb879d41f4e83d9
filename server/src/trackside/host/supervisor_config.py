"""The supervisor's configuration. Pure: the platform's processes in, text out."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOG_BYTES = 1 << 20
LOG_FILES = 2
FINGERPRINT = "TRACKSIDE_FINGERPRINT"
RESTARTS_WITHOUT_END = 1_000_000
"""The supervisor waits a second longer after each failed start; it never gives up."""


@dataclass(frozen=True)
class ManagedProcess:
    """One process under the supervisor, in the order of the list.

    `fingerprint` stands for what it reads at its start: when that changes, a converging start restarts it.
    `stop_seconds` is how long it may take to end by itself.
    """

    name: str
    argv: tuple[str, ...]
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    fingerprint: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class SupervisorPlan:
    """What the supervisor is given; `descriptors` is the limit of open files for it and all it starts.

    `locks` holds a file per process, and the supervisor's own, by their names; `logs` their logs, which they write themselves:
    a pipe to the supervisor would break with it. `alive` is touched as long as it all runs. `share` is the control group whose share of
    the processors it has, and whatever it starts that has no other.
    """

    socket: Path
    pid_file: Path
    directory: Path
    logs: Path
    locks: Path
    alive: Path
    descriptors: int
    processes: Sequence[ManagedProcess]
    share: str = ""


def fingerprint(*texts: str) -> str:
    """A short hash of what a process reads."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def supervisor_conf(plan: SupervisorPlan) -> str:
    """The configuration file. Nothing starts by itself: the start puts each part up in its turn and waits for it."""
    head = f"""[unix_http_server]
file = {_escaped(plan.socket)}
chmod = 0700

[supervisord]
nodaemon = true
pidfile = {_escaped(plan.pid_file)}
directory = {_escaped(plan.directory)}
logfile = {_escaped(plan.logs / "supervisor.log")}
logfile_maxbytes = {LOG_BYTES}
logfile_backups = {LOG_FILES}
minfds = {plan.descriptors}
minprocs = 200
umask = 022

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    return head + "".join(_program(process, number, plan) for number, process in enumerate(plan.processes, start=1))


def _program(process: ManagedProcess, number: int, plan: SupervisorPlan) -> str:
    environment = {**process.environment, FINGERPRINT: process.fingerprint}
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(environment.items()))
    return f"""
[program:{process.name}]
command = {_escaped(shlex.join(process.argv))}
environment = {pairs}
priority = {number}
autostart = false
autorestart = true
startsecs = 1
startretries = {RESTARTS_WITHOUT_END}
stopsignal = {process.stop_signal}
stopwaitsecs = {process.stop_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = NONE
"""


def _escaped(value: object) -> str:
    """A per cent sign begins an expansion in this format."""
    return str(value).replace("%", "%%")
