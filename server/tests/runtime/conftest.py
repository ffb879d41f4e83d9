"""A container engine of the tests' own: its data, socket and bridges are apart from any engine of the machine."""

import asyncio
import io
import json
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Network
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from trackside.adapters.docker.connection import Engine
from trackside.adapters.docker.manifests import DockerOptions
from trackside.adapters.docker.runtime import DockerRuntime

PROGRAM = "/usr/sbin/dockerd"
SUBNETS = count(1)
MakeImage = Callable[[dict[str, Any]], str]


@dataclass
class OwnEngine:
    """A `dockerd` under a directory; `kill` and `launch` again to test what survives it."""

    directory: Path
    name: str = field(default_factory=lambda: f"t{uuid4().hex[:8]}")
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/docker.sock"

    def launch(self) -> None:
        directory = self.directory
        (directory / "exec/containerd/containerd.pid").unlink(missing_ok=True)  # a stale one costs 15 s of refusal
        with (directory / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(PROGRAM, "--host", self.url, "--data-root", f"{directory}/data"),
                    *("--exec-root", f"{directory}/exec", "--pidfile", f"{directory}/docker.pid"),
                    *("--containerd-namespace", self.name, "--containerd-plugins-namespace", f"{self.name}p"),
                    *("--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
                    *("--ip-masq=false", "--live-restore", "--log-level", "warn", "--userland-proxy=false"),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"dockerd does not start: {(directory / 'dockerd.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        return (self.directory / "docker.sock").exists() and asyncio.run(self._ping())

    async def _ping(self) -> bool:
        engine = Engine(self.url)
        try:
            await engine.version()
        except Exception:  # noqa: BLE001 - whatever it is, it does not answer yet
            return False
        finally:
            await engine.close()
        return True

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process
        self.process.send_signal(how)
        self.process.wait(60)


@pytest.fixture(scope="session")
def own_engine() -> Iterator[OwnEngine]:
    assert Path(PROGRAM).exists(), "no dockerd on this machine: `make setup-tests` installs it"
    directory = Path(tempfile.mkdtemp(prefix="ts-engine-", dir="/tmp"))  # short: a socket's path is limited
    engine = OwnEngine(directory)
    engine.launch()
    try:
        yield engine
    finally:
        asyncio.run(remove_everything(engine.url))
        engine.stop()
        unmount(directory)
        shutil.rmtree(directory)


def unmount(directory: Path) -> None:
    """The engine leaves its network namespaces mounted."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)


async def remove_everything(url: str) -> None:
    engine = Engine(url)
    try:
        for container in await engine.containers.list(all=True):
            await container.delete(force=True, v=True)
        for network in await engine.networks.list(filters={"type": "custom"}):
            await (await engine.networks.get(network["Id"])).delete()
    finally:
        await engine.close()


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static busybox: the machine's, else unpacked from its Debian package."""
    if (found := Path("/usr/bin/busybox")).exists():
        return found
    directory = tmp_path_factory.mktemp("busybox")
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=directory, check=True, capture_output=True)
    package = next(directory.glob("*.deb"))
    subprocess.run(["dpkg", "-x", str(package), str(directory / "root")], check=True)
    return directory / "root/bin/busybox"


@pytest.fixture(scope="session")
def image(make_image: MakeImage) -> str:
    """The content id of an image with busybox's programs, made without any registry."""
    return make_image({})


@pytest.fixture(scope="session")
def make_image(own_engine: OwnEngine, busybox: Path) -> MakeImage:
    """Makes an image with busybox's programs and a configuration (`{"StopSignal": "SIGUSR1"}`); gives its content id."""
    layer = busybox_layer(busybox)

    def make(configuration: dict[str, Any]) -> str:
        body = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"]} | configuration,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
        }
        text = json.dumps(body).encode()
        image_id = sha256(text).hexdigest()
        manifest = [{"Config": f"{image_id}.json", "RepoTags": None, "Layers": ["layer.tar"]}]
        files = {f"{image_id}.json": text, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
        asyncio.run(load_image(own_engine.url, archive(files)))
        return f"sha256:{image_id}"

    return make


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def busybox_layer(busybox: Path) -> bytes:
    applets = subprocess.run([str(busybox), "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO(archive({"bin/busybox": busybox.read_bytes()}))
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        for name in ("tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for applet in sorted(set(applets) - {"busybox"}):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return buffer.getvalue()


async def load_image(url: str, content: bytes) -> None:
    engine = Engine(url)
    try:
        async with engine.session.post(f"{engine.docker_host}/images/load", data=io.BytesIO(content)) as response:
            text = await response.text()
            assert response.status == 200, text
    finally:
        await engine.close()


@pytest.fixture
def subnet() -> IPv4Network:
    """An own subnet for each test."""
    return IPv4Network((f"10.231.{next(SUBNETS) % 256}.0", 24))


@pytest.fixture
async def docker_runtime(own_engine: OwnEngine) -> AsyncIterator[DockerRuntime]:
    """The runtime of an installation of its own, whose containers and networks are gone afterwards."""
    installation = uuid4().hex[:8]
    runtime = DockerRuntime(own_engine.url, installation, DockerOptions(interface_prefix=f"t{installation[:4]}"))
    yield runtime
    for replica in await runtime.observe_all():
        await runtime.remove(replica.replica_id)
    for network in await runtime.networks():
        await runtime.remove_network(network.environment_id)
    await runtime.close()
