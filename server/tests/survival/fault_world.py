"""A real platform whose parts can be made to hang, and whose disks can be filled: its state and its database lie on loop disks."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from e2e.conftest import CHECKOUT, Cli, Trackside, free_port
from edge.load import Load
from trackside.host.layout import REGISTER
from trackside.host.supervisor_rpc import SupervisorRpc

GIBIBYTE = 1 << 30
HANG_SECONDS = 30


class Disk:
    """A file system of its own in a sparse file, mounted at `place`."""

    def __init__(self, file: Path, place: Path, size: int) -> None:
        self._file = file
        self.place = place
        with file.open("wb") as made:
            made.truncate(size)
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(file))
        run("mount", "-o", "loop", str(file), str(place))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Without a byte left, until the block ends."""
        ballast = self.place / "ballast"
        free = os.statvfs(self.place).f_bavail * os.statvfs(self.place).f_frsize
        try:
            with ballast.open("wb") as made:
                os.posix_fallocate(made.fileno(), 0, free - (1 << 20))
            self._fill_the_rest()
            yield
        finally:
            for path in self.place.glob("ballast*"):
                path.unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Without an end to any write, until the block ends."""
        run("fsfreeze", "--freeze", str(self.place))
        try:
            yield
        finally:
            run("fsfreeze", "--unfreeze", str(self.place))

    def _fill_the_rest(self) -> None:
        """What is set aside for the file system's own tables differs: so write until it refuses."""
        with contextlib.suppress(OSError), (self.place / "ballast-rest").open("wb", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))

    def remove(self) -> None:
        """A stop of the platform may have unmounted it already."""
        if os.path.ismount(self.place):
            run("umount", str(self.place))
        self._file.unlink()


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


@dataclass
class FaultWorld:
    """The platform, and what is done to it."""

    trackside: Trackside
    state_disk: Disk
    database_disk: Disk

    @property
    def cli(self) -> Cli:
        return self.trackside.cli

    def status(self) -> dict[str, dict[str, Any]]:
        """The processes as `server status` lists them, by name."""
        listed = json.loads(self.cli.run("server", "status", "--json", ok=False).stdout)["processes"]
        return {process["name"]: process for process in listed}

    def pid(self, name: str) -> int:
        return int(self.status()[name]["pid"])

    @contextmanager
    def stopped(self, *names: str) -> Iterator[dict[str, int]]:
        """The processes stand still, as if they hung; yields their pids. Those that live then go on at the end."""
        status = self.status()
        pids = {name: int(status[name]["pid"]) for name in names}
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        try:
            yield pids
        finally:
            for pid in pids.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@contextmanager
def fault_world(**settings: str) -> Iterator[FaultWorld]:
    """A platform of its own, stopped and unmounted in the end."""
    root = Path(tempfile.mkdtemp(prefix="ts-faults-", dir="/var/lib"))
    root.chmod(0o711)
    home = root / "home"
    home.mkdir()
    disk = Disk(root / "state.img", home, 4 * GIBIBYTE)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TRACKSIDE_")},
        "TRACKSIDE_HOME": str(home),
        "TRACKSIDE_API_PORT": str(free_port()),
        "TRACKSIDE_EDGE_PORT": str(free_port()),
        "TRACKSIDE_ENGINE_URL": "embedded",
        "TRACKSIDE_HANG_SECONDS": str(HANG_SECONDS),
        **settings,
    }
    cli, database = Cli(environment), None
    try:
        cli.run("server", "start")
        status = cli.json("server", "status")
        cli.environment["TRACKSIDE_TOKEN"] = token = cli.run("server", "token", "--name", "tests").stdout.strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=status["api_url"], headers=headers, timeout=60, trust_env=False) as api:
            installation = json.loads((home / "settings.json").read_text())["installation"]
            database = move_database(installation, root / "database.img")
            yield FaultWorld(Trackside(home, cli, status, api), disk, database)
    finally:
        if kept := os.environ.get("TRACKSIDE_TEST_LOGS"):
            shutil.copytree(home / "logs" / "platform", kept, dirs_exist_ok=True)
        installation = json.loads((home / "settings.json").read_text())["installation"]
        cli.run("server", "stop")
        if database:
            database.remove()
        disk.remove()
        shutil.rmtree(root)
        shutil.rmtree(REGISTER / installation, ignore_errors=True)


def move_database(installation: str, file: Path) -> Disk:
    """Move the data of a running platform's PostgreSQL to a disk of its own."""
    place, rpc = (
        REGISTER / installation / "postgres",
        SupervisorRpc(Path(f"/run/trackside-{installation}/supervisor.sock")),
    )
    asyncio.run(rpc.call("stopProcess", "postgres", True))
    kept = place.with_name("postgres.before")
    place.rename(kept)
    place.mkdir()
    disk = Disk(file, place, GIBIBYTE)
    run("cp", "-a", f"{kept}/.", str(place))
    shutil.rmtree(kept)
    asyncio.run(rpc.call("startProcess", "postgres", True))
    return disk


@contextmanager
def under_load(load: Load) -> Iterator[Load]:
    """Requests all the time, from a thread of its own; none may fail."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(load.__aenter__(), loop).result()
    try:
        yield load
    finally:
        asyncio.run_coroutine_threadsafe(load.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    print(load.summary())
    assert load.outcomes
    assert load.failures == [], load.summary()


__all__ = ["CHECKOUT", "FaultWorld", "fault_world", "under_load"]
