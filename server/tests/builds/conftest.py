"""A build engine, an engine for apps and a registry of the tests' own, and what makes orders and repositories."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from builds.engines import PROGRAM, BuildNetwork, ControlGroup, TestEngine
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.buildkit.options import BaseImages, BuildKitOptions, CompanyNetwork
from trackside.rooms.builds.model import BuildOrder

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
MEMORY_BYTES = 1 << 30


@pytest.fixture(scope="session")
def workplace() -> Iterator[Path]:
    if not Path(PROGRAM).exists():
        pytest.fail("the tests need a container engine: apt-get install docker.io")
    directory = Path(tempfile.mkdtemp(prefix="ts-builds-", dir="/tmp"))  # short: a socket's path is limited
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def network() -> Iterator[BuildNetwork]:
    bridge = BuildNetwork(f"tsb{uuid4().hex[:8]}", f"10.209.{uuid4().int % 200 + 1}.0/24")
    bridge.start()
    yield bridge
    bridge.stop()


@pytest.fixture(scope="session")
def cgroup() -> Iterator[str]:
    group = ControlGroup(f"ts-test-{uuid4().hex[:8]}", MEMORY_BYTES)
    group.start()
    yield group.name
    group.stop()


@pytest.fixture(scope="session")
def build_engine(workplace: Path, network: BuildNetwork, cgroup: str) -> Iterator[TestEngine]:
    engine = TestEngine(workplace / "b", ("--bridge", network.name, "--cgroup-parent", f"/{cgroup}"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def app_engine(workplace: Path) -> Iterator[TestEngine]:
    engine = TestEngine(workplace / "a", ("--bridge", "none", "--ip-forward=false"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def options(workplace: Path, build_engine: TestEngine, app_engine: TestEngine, cgroup: str) -> BuildKitOptions:
    return BuildKitOptions(
        directory=workplace / "state",
        build_engine_url=build_engine.url,
        engine_url=app_engine.url,
        cgroup=f"/{cgroup}",
        memory_bytes=MEMORY_BYTES,
        base_images=BaseImages.BOOTSTRAP,
        network=CompanyNetwork(ca_bundle=CA_BUNDLE),
    )


@pytest.fixture
async def docker_builder(options: BuildKitOptions) -> AsyncIterator[BuildKitBuilder]:
    builder = BuildKitBuilder(options)
    yield builder
    await builder.close()


@pytest.fixture
def order(tmp_path: Path) -> Callable[..., BuildOrder]:
    """Makes an order of a Dockerfile and files."""

    def make(
        dockerfile: str, files: Mapping[str, str] | None = None, *, tree: Path | None = None, **fields: object
    ) -> BuildOrder:
        if tree is None:
            tree = tmp_path / uuid4().hex
            tree.mkdir()
        for name, text in (files or {}).items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        values: dict[str, object] = {"is_planned": False, "workspace_id": UUID(int=1)} | fields
        return BuildOrder(build_id=uuid4(), service_instance_id=uuid4(), tree=tree, dockerfile=dockerfile, **values)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def registry(workplace: Path) -> Iterator[str]:
    """A registry on loopback, which engines reach without TLS; `host:port`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = workplace / "registry.yml"
    configuration.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {workplace}/registry}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
    )
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("the tests need a registry: apt-get install docker-registry")
    process = subprocess.Popen(
        [program, "serve", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "the registry does not start"
            time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(20)
