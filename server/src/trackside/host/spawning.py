"""Starts a program that goes on when this one ends."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from trackside.host.files import write_text
from trackside.host.launch import Launch


def launch_argv(file: Path, python: Path = Path(sys.executable)) -> tuple[str, ...]:
    """The command that turns into what the launch file says."""
    return (str(python), "-m", "trackside.host.launch", str(file))


def spawn(launch: Launch, file: Path, environment: Mapping[str, str], log: Path = Path(os.devnull)) -> int:
    """Start it in a session of its own, its output added to `log`; its pid. `file` is written for it.

    It gets none of the caller's open files: it would keep a lock or a pipe of whoever called the command for ever.
    """
    write_text(file, launch.as_json(), 0o600)
    others = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    argv = launch_argv(file)
    return os.posix_spawn(
        argv[0],
        argv,
        dict(environment),
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, number) for number in others),
        ],
    )
