"""Becomes HAProxy: writes its files from what was served last, opens the access log for it, and executes it.

So HAProxy starts, and serves, with the edge process, the database and everything else off.
"""

import os
import pwd
import resource
from dataclasses import replace
from typing import NoReturn

from trackside.adapters.proxy.access_log import open_log
from trackside.adapters.proxy.config import LOG_DESCRIPTOR
from trackside.adapters.proxy.files import ProxyFiles
from trackside.adapters.proxy.options import HAProxyOptions
from trackside.rooms.networking.ports import Served

SPARE_DESCRIPTORS = 1000
"""For checks, idle connections to apps, sockets and an old process at a reload."""


def fitting(options: HAProxyOptions) -> HAProxyOptions:
    """The options with what this process may really have: each connection takes two descriptors, a user must exist."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = options.connections
    if hard != resource.RLIM_INFINITY:
        connections = max(100, min(connections, (hard - SPARE_DESCRIPTORS) // 2))
    return replace(options, connections=connections, user=options.user if _can_become(options.user) else "")


def _can_become(user: str) -> bool:
    if not user or os.geteuid() != 0:
        return False
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def command(options: HAProxyOptions) -> list[str]:
    """The command line: a master that stays in the foreground and reloads its worker."""
    return [options.program, "-W", "-db", "-S", f"{options.master_socket},mode,600", "-f", str(options.config_file)]


def launch(options: HAProxyOptions) -> NoReturn:
    """Replace this process by HAProxy, serving what was persisted last. Errors: OSError."""
    options = fitting(options)
    files = ProxyFiles(options)
    files.prepare()
    files.write(files.served() or Served(), files.slots())
    log = open_log(options.access_log, os.O_WRONLY | os.O_APPEND)
    os.lseek(
        log, 0, os.SEEK_END
    )  # HAProxy sets the descriptor's flags anew and so loses O_APPEND: the position must be right
    if log == LOG_DESCRIPTOR:
        os.set_inheritable(log, True)
    else:
        os.dup2(log, LOG_DESCRIPTOR)
    arguments = command(options)
    os.execv(arguments[0], arguments)
