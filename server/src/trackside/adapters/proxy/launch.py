"""Becomes HAProxy: writes its files from what was served last, opens the access log for it, and executes it.

So HAProxy starts, and serves, with the edge process, the database and everything else off. The supervisor runs this module by
itself, `python -m trackside.adapters.proxy.launch <options>`: what it imports is what requests wait for when HAProxy was killed.
"""

import json
import os
import pwd
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from trackside.adapters.proxy.access_log import open_log
from trackside.adapters.proxy.config import LOG_DESCRIPTOR
from trackside.adapters.proxy.files import ProxyFiles
from trackside.adapters.proxy.options import HAProxyOptions
from trackside.rooms.networking.ports import Served

ALLOCATION = {"MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_TOP_PAD_": str(4 << 20)}
"""HAProxy frees its buffers one by one. Left to itself the allocator gives them to the kernel and takes them again for the next
request, zeroed page by page: a tenth of every request."""
POOLS = "-dMglobal"
"""What overflows the small cache of buffers goes to a pool of HAProxy's own, as large as was needed lately, instead of back to the
allocator: another tenth."""
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
    sockets = ("-S", f"{options.master_socket},mode,600")
    return [options.program, POOLS, "-W", "-db", *sockets, "-f", str(options.config_file)]


def launch(options: HAProxyOptions) -> NoReturn:
    """Replace this process by HAProxy, serving what was persisted last. Errors: OSError."""
    options = fitting(options)
    files = ProxyFiles(options)
    files.prepare()
    served = files.served() or Served()
    # The first start since the machine booted: nothing is known to be well, and the edge opens when it has looked.
    files.write(served if files.is_open() else replace(served, ready={}), files.slots())
    log = open_log(options.access_log, os.O_WRONLY | os.O_APPEND)
    os.lseek(
        log, 0, os.SEEK_END
    )  # HAProxy sets the descriptor's flags anew and so loses O_APPEND: the position must be right
    if log == LOG_DESCRIPTOR:
        os.set_inheritable(log, True)
    else:
        os.dup2(log, LOG_DESCRIPTOR)
    arguments = command(options)
    for name, value in ALLOCATION.items():
        os.putenv(name, value)
    os.execv(arguments[0], arguments)


def arguments(options: HAProxyOptions) -> tuple[str, ...]:
    """What Python is given to become HAProxy with these options; what is not among them has its default."""
    told = {
        "directory": str(options.directory),
        "run_directory": str(options.run_directory),
        "host": options.host,
        "port": options.port,
        "user": options.user,
    }
    return ("-m", __name__, json.dumps(told))


def options_of(text: str) -> HAProxyOptions:
    """The options out of what `arguments` has made of them."""
    told = json.loads(text)
    return HAProxyOptions(Path(told.pop("directory")), Path(told.pop("run_directory")), **told)


if __name__ == "__main__":
    launch(options_of(sys.argv[1]))
