"""Engines of the tests' own for builds: one that builds, with a bridge to the package sources and a memory limit, and one for apps."""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from trackside.adapters.docker.connection import Engine

PROGRAM = "/usr/sbin/dockerd"


@dataclass
class TestEngine:
    """A `dockerd` under a directory, apart from every other engine of the machine."""

    __test__ = False

    directory: Path
    arguments: tuple[str, ...]
    name: str = field(default_factory=lambda: f"t{uuid4().hex[:8]}")
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/docker.sock"

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(PROGRAM, "--host", self.url, "--data-root", f"{self.directory}/data"),
                    *("--exec-root", f"{self.directory}/exec", "--pidfile", f"{self.directory}/docker.pid"),
                    *("--containerd-namespace", self.name, "--containerd-plugins-namespace", f"{self.name}p"),
                    *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--log-level", "warn"),
                    *self.arguments,
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while not asyncio.run(self._answers()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError((self.directory / "dockerd.log").read_text()[-2000:])
            time.sleep(0.1)

    async def _answers(self) -> bool:
        engine = Engine(self.url)
        try:
            await engine.version()
        except Exception:  # noqa: BLE001 - whatever it is, it does not answer yet
            return False
        finally:
            await engine.close()
        return True

    def kill(self) -> None:
        """SIGKILL. It can be started again on what it left."""
        assert self.process
        containerd = self.directory / "exec" / "containerd" / "containerd.pid"
        for pid in (self.process.pid, int(containerd.read_text())):
            os.kill(pid, signal.SIGKILL)
        containerd.unlink()  # as long as nobody has reaped it, the next engine would take it for one that runs
        self.process.wait(60)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(60)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{self.directory}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=True)


@dataclass
class BuildNetwork:
    """A bridge for builds that leads out (NAT) in a table of rules of its own."""

    name: str
    subnet: str

    def start(self) -> None:
        gateway = self.subnet.replace(".0/", ".1/")
        run("ip", "link", "add", self.name, "type", "bridge")
        run("ip", "address", "add", gateway, "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        run("nft", "add", "table", "ip", self.name)
        run("nft", "add", "chain", "ip", self.name, "out", "{ type nat hook postrouting priority 100; }")
        run("nft", "add", "rule", "ip", self.name, "out", "ip", "saddr", self.subnet, "masquerade")

    def stop(self) -> None:
        with suppress(subprocess.CalledProcessError):
            run("nft", "delete", "table", "ip", self.name)
        with suppress(subprocess.CalledProcessError):
            run("ip", "link", "delete", self.name)


@dataclass
class ControlGroup:
    """A parent control group with a memory limit, for cgroup version 1."""

    name: str
    memory_bytes: int

    @property
    def _directory(self) -> Path:
        root = Path("/sys/fs/cgroup/memory")
        return (root if root.is_dir() else Path("/sys/fs/cgroup")) / self.name

    def start(self) -> None:
        self._directory.mkdir()
        version1 = self._directory / "memory.limit_in_bytes"
        file = version1 if version1.exists() else self._directory / "memory.max"
        file.write_text(str(self.memory_bytes))

    def stop(self) -> None:
        for root in [self._directory, *Path("/sys/fs/cgroup").glob(f"*/{self.name}")]:
            for directory in sorted(root.rglob("*/"), reverse=True) if root.is_dir() else []:
                with suppress(OSError):
                    directory.rmdir()
            with suppress(OSError):
                root.rmdir()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
