"""Reads /proc: whose a process is, what memory it takes, who listens on a port.

A process is ours by what it carries (the installation in its environment, its control group, its directory), never by its name.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTENING = "0A"
INSTALLATION = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class Process:
    """One live process. `started` is in clock ticks since boot: with the pid it names a process for ever."""

    pid: int
    parent: int
    started: int
    command: str


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile, or is another user's
        return b""


def read_process(pid: int) -> Process | None:
    """The process, or None where it is gone or dead already (a zombie waits only for its parent)."""
    status = _read(PROC / str(pid) / "stat").decode(errors="replace")
    if not status:
        return None
    fields = status.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    words = _read(PROC / str(pid) / "cmdline").rstrip(b"\0").split(b"\0")
    return Process(pid, int(fields[1]), int(fields[19]), b" ".join(words).decode(errors="replace"))


def processor_ticks(pid: int) -> int:
    """Processor time it has used, in clock ticks; 0 where it is gone."""
    fields = _read(PROC / str(pid) / "stat").decode(errors="replace").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def all_processes() -> Iterator[Process]:
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (process := read_process(int(entry.name))):
            yield process


def is_alive(pid: int, *, command_has: str = "") -> bool:
    """Whether the process lives and, where asked, has this text in its command line (a pid may have been given anew)."""
    process = read_process(pid)
    return process is not None and command_has in process.command


def uptime_seconds(pid: int) -> int:
    """How long the process has lived; 0 where it is gone."""
    process = read_process(pid)
    if process is None:
        return 0
    since_boot = float(_read(PROC / "uptime").split()[0])
    return max(0, int(since_boot - process.started / os.sysconf("SC_CLK_TCK")))


def read_pid(path: Path) -> int | None:
    """The pid in the first line of a pid file."""
    lines = _read(path).split()
    return int(lines[0]) if lines and lines[0].isdigit() else None


def environment_of(pid: int) -> dict[str, str]:
    """What the process was started with; empty where it may not be read."""
    pairs = (entry.decode(errors="replace").partition("=") for entry in _read(PROC / str(pid) / "environ").split(b"\0"))
    return {name: value for name, _, value in pairs if name}


def carries(pid: int, installation: str) -> bool:
    """Whether the process was started with the installation in its environment."""
    return environment_of(pid).get("TRACKSIDE_INSTALLATION") == installation


def _is_in_group(pid: int, group: str) -> bool:
    """An empty group, or the root of all groups, holds nothing of ours: it would hold every process of the machine."""
    if group.strip("/") == "":
        return False
    for line in _read(PROC / str(pid) / "cgroup").decode(errors="replace").splitlines():
        path = line.split(":", 2)[-1]
        if path == group or path.startswith(f"{group}/"):
            return True
    return False


def works_in(pid: int, directory: Path) -> bool:
    """Whether the process has its working directory there or below."""
    with suppress(OSError):
        return Path(os.readlink(PROC / str(pid) / "cwd")).is_relative_to(directory)
    return False


def processes_of(installation: str, data: Path, groups: Collection[str]) -> list[Process]:
    """Every live process of an installation; without control groups, not what runs in containers.

    PostgreSQL's children write over their environment (it becomes their title): they are known by the directory they work in.
    What this finds may be ended, so it refuses marks that processes of others could carry too. Errors: ValueError.
    """
    if not INSTALLATION.fullmatch(installation):
        raise ValueError(f"`{installation}` is no installation's id")
    if others := [group for group in groups if installation not in group]:
        raise ValueError(f"the control group `{others[0]}` is not the installation's own")
    if installation not in str(data):
        raise ValueError(f"the directory {data} is not the installation's own")
    return [
        process
        for process in all_processes()
        if carries(process.pid, installation)
        or works_in(process.pid, data)
        or any(_is_in_group(process.pid, group) for group in groups)
    ]


def family(pid: int) -> set[int]:
    """The process itself and its ancestors: those must not be ended by themselves."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        process = read_process(pid)
        pid = process.parent if process else 0
    return found


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for process in all_processes():
        children.setdefault(process.parent, []).append(process.pid)
    found, waiting = list[int](), [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def memory_bytes(pid: int) -> int:
    """Memory of one process: its proportional share where it may be read, else what is resident."""
    for name, label in (("smaps_rollup", b"Pss:"), ("status", b"VmRSS:")):
        for line in _read(PROC / str(pid) / name).splitlines():
            if line.startswith(label):
                return int(line.split()[1]) * 1024
    return 0


def memory_of_tree(pid: int) -> int:
    return sum(memory_bytes(each) for each in tree(pid))


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken, in all its threads; 0 where it is gone."""
    fields = _read(PROC / str(pid) / "stat").decode(errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def cpu_of_tree(pid: int) -> float:
    return sum(cpu_seconds(each) for each in tree(pid))


def listening_sockets(port: int) -> set[str]:
    """Socket inodes that listen on this TCP port, on any address."""
    return {inode for state, _, inode in _sockets(("tcp", "tcp6"), port) if state == LISTENING}


def sockets_on_all_addresses(port: int) -> set[str]:
    """Inodes of sockets, TCP or UDP, that hold this port on every address of the machine."""
    listening = _sockets(("tcp", "tcp6"), port)
    held = {inode for state, address, inode in listening if state == LISTENING and not int(address, 16)}
    return held | {inode for _, address, inode in _sockets(("udp", "udp6"), port) if not int(address, 16)}


def _sockets(kinds: Sequence[str], port: int) -> Iterator[tuple[str, str, str]]:
    """State, local address and inode of sockets on this port, as the kernel writes them."""
    for kind in kinds:
        for line in _read(PROC / "net" / kind).decode().splitlines()[1:]:
            fields = line.split()
            address, _, number = fields[1].rpartition(":")
            if int(number, 16) == port:
                yield fields[3], address, fields[9]


def holder_of_port(port: int) -> Process | None:
    """The process that listens on this TCP port, as far as this user may know."""
    return holder_of(listening_sockets(port))


def holder_of(sockets: Collection[str]) -> Process | None:
    """The first process found that holds one of these sockets, named by their inodes, as far as this user may know."""
    wanted = {f"socket:[{inode}]" for inode in sockets}
    for process in all_processes() if wanted else ():
        with suppress(OSError):
            for handle in (PROC / str(process.pid) / "fd").iterdir():
                with suppress(OSError):
                    if os.readlink(handle) in wanted:
                        return process
    return None
