"""What the tests of the machine share: short directories, a static busybox, the docker command line."""

import asyncio
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from trackside.host.alone import parts_alone
from trackside.host.commands import Result, attempt
from trackside.host.machine import Machine, MachineOptions

TOOLS = Path(__file__).resolve().parents[3] / ".tools" / "test-programs"
APPLETS = ("sh", "cat", "dd", "httpd", "nc", "nslookup", "ping", "sleep", "wget", "ip", "true", "yes")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A path with nothing there yet: short, for sockets, and open for other users to pass."""
    path = Path("/tmp") / f"ts-{secrets.token_hex(3)}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(parts: Collection[str], options: MachineOptions | None = None) -> Iterator[Machine]:
    """Parts of the platform, for tests that share them."""
    path = Path("/tmp") / f"ts-{secrets.token_hex(3)}"
    with asyncio.Runner() as runner:
        context = parts_alone(path, parts, options)
        machine = runner.run(context.__aenter__())
        try:
            yield machine
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def run_parts() -> Callable[..., AbstractContextManager[Machine]]:
    return running


@pytest.fixture(scope="session")
def busybox() -> Path:
    """A statically linked busybox, out of Debian's package: a whole operating system for containers in one file."""
    program = TOOLS / "busybox"
    if not program.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        download = TOOLS / f"download-{os.getpid()}"
        download.mkdir()
        subprocess.run(["apt-get", "-q", "download", "busybox-static"], cwd=download, check=True, capture_output=True)
        package = next(download.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, download / "tree"], check=True)
        (download / "tree" / "bin" / "busybox").replace(program)
        shutil.rmtree(download)
    return program


@dataclass(frozen=True)
class Docker:
    """The docker command line, on one engine."""

    url: str
    busybox: Path

    async def attempt(self, *words: str, stdin: str | None = None) -> Result:
        return await attempt(
            "/usr/bin/docker",
            "--host",
            self.url,
            *words,
            stdin=stdin,
            seconds=120,
            environment={"DOCKER_BUILDKIT": "1", "HOME": "/nonexistent"},
        )

    async def run(self, *words: str) -> str:
        result = await self.attempt(*words)
        assert result.status == 0, result.complaint
        return result.output.strip()

    async def build(self, context: Path, *steps: str, network: str = "default") -> Result:
        """Build an image with busybox in it, by these shell lines."""
        context.mkdir(exist_ok=True)
        shutil.copy(self.busybox, context / "busybox")
        lines = ["FROM scratch", "COPY busybox /bin/busybox", 'SHELL ["/bin/busybox", "sh", "-c"]', "ENV PATH=/bin"]
        lines.append("RUN busybox --install -s /bin && mkdir -p /tmp")
        lines += [f"RUN {step}" for step in steps]
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        return await self.attempt(
            "build", "--progress", "plain", "--network", network, "--tag", "trackside-test:1", str(context)
        )
