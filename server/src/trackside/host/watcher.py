"""The watcher: brings the supervisor back when it was killed, and keeps the logs of the platform's processes short.

`python -m trackside.host.watcher <watch file>`, itself started and restarted by the supervisor, so that each brings the other
back. What a killed supervisor ran goes on; the new one's processes wait for their predecessors' locks (see `locks`). A watcher
that has brought a supervisor back ends: its own successor waits already. The standard library only, for it always runs.
"""

import json
import os
import select
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from trackside.host import locks

LOG_BYTES = 10 << 20
LOG_FILES = 3
LOOK_SECONDS = 20
RETRY_SECONDS = 0.2
COME_UP_SECONDS = 15


@dataclass(frozen=True)
class Watch:
    """What the watcher needs to know: how the supervisor is started, the lock it holds, where it listens, what it runs, where logs are,
    and which file tells for how long all this has run.
    """

    supervisor: Sequence[str]
    lock: str
    socket: str
    names: Sequence[str]
    logs: str
    alive: str

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def watch(file: Path) -> None:
    """Return when the supervisor that started this process had died, and there is one again."""
    wanted = read(file)
    parent = os.getppid()
    with suppress(ProcessLookupError):
        if parent != locks.holder(Path(wanted.lock)):
            raise ProcessLookupError  # it died before this process came so far, and another one has inherited it
        descriptor = os.pidfd_open(parent)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while os.getppid() == parent:
            shorten_logs(Path(wanted.logs))
            with suppress(OSError):  # a full disk takes nothing that is new
                Path(wanted.alive).touch()
            if poll.poll(LOOK_SECONDS * 1000):
                break
    bring_back(read(file))  # anew: a start may have added a part since


def read(file: Path) -> Watch:
    stored = json.loads(file.read_text(encoding="utf-8"))
    return Watch(**{one.name: stored[one.name] for one in fields(Watch)})  # another version may have written more


def bring_back(wanted: Watch) -> None:
    """Start the supervisor, unless somebody else has, and have it run everything. Tries until that is done."""
    environment = {name: value for name, value in os.environ.items() if name != "TRACKSIDE_FINGERPRINT"}
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    while True:
        os.posix_spawn(wanted.supervisor[0], list(wanted.supervisor), environment, setsid=True, file_actions=null)
        deadline = time.monotonic() + COME_UP_SECONDS
        while time.monotonic() < deadline:
            if ask_to_run(wanted):
                return
            time.sleep(RETRY_SECONDS)


def ask_to_run(wanted: Watch) -> bool:
    """Tell the supervisor to run everything; whether it was reached."""
    import xmlrpc.client

    from trackside.host.supervisor_rpc import call_plainly

    try:
        for name in wanted.names:
            with suppress(xmlrpc.client.Fault):  # it runs already
                call_plainly(Path(wanted.socket), "startProcess", name, False)
    except OSError:
        return False
    return True


def shorten_logs(logs: Path) -> None:
    """Put aside what is too long. The writers append, so they go on in the emptied file; a line in between may be lost."""
    for log in logs.glob("*.log"):
        with suppress(OSError):
            if log.stat().st_size > LOG_BYTES:
                for number in range(LOG_FILES - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        Path(f"{log}.{number}").rename(f"{log}.{number + 1}")
                try:
                    shutil.copy2(log, f"{log}.1")
                except OSError:  # no room for a copy: room is what is needed
                    Path(f"{log}.1").unlink(missing_ok=True)
                os.truncate(log, 0)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
