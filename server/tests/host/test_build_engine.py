"""The engine of builds, for real: its limits hold, and a build reaches only what it may.

One engine for the file; each build takes a second or two, for it is a real one.
"""

import asyncio
import math
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from contracts.builder import Lines
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.buildkit.options import BuildKitOptions
from trackside.host.alone import start_build_engine
from trackside.host.bridges import gateway_of
from trackside.host.cgroups import system_hierarchies
from trackside.host.commands import Result
from trackside.host.engine import engine_info
from trackside.host.firewall_rules import IPAddress
from trackside.host.machine import Machine, MachineOptions
from trackside.host.mirrors import STAY_OPEN_SECONDS, Mirrors, Place, endpoints
from trackside.host.process_table import is_alive, read_pid
from trackside.rooms.builds.errors import BuildFailed
from trackside.rooms.builds.model import BuildOrder, Limit

from .conftest import Docker

MEMORY = 96 << 20
DISK = 512 << 20


class Files(BaseHTTPRequestHandler):
    """A server of the machine's that has every file."""

    timeout = 5

    def do_GET(self) -> None:
        assert isinstance(self.server, FileServer)
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class FileServer(ThreadingHTTPServer):
    """Remembers the paths it was asked for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[str] = []


@contextmanager
def file_server(address: str = "127.0.0.1") -> Iterator[FileServer]:
    server = FileServer((address, 0), Files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def mirror() -> Iterator[FileServer]:
    """What the settings name as a registry: open to the build engine, though it is on loopback."""
    with file_server() as server:
        yield server


@pytest.fixture(scope="module")
def machine(run_parts: Callable[..., AbstractContextManager[Machine]], mirror: FileServer) -> Iterator[Machine]:
    options = MachineOptions(
        build_memory_bytes=MEMORY,
        build_disk_bytes=DISK,
        registry_mirror=f"127.0.0.1:{mirror.server_port}/hub",
        insecure_registry=f"127.0.0.1:{mirror.server_port}",
    )
    with run_parts({"build-engine"}, options) as machine:
        yield machine


@pytest.fixture
def docker(machine: Machine, busybox: Path) -> Docker:
    return Docker(f"unix://{machine.layout.build_engine_socket}", busybox)


@pytest.fixture
def context(directory: Path) -> Path:
    return directory


def read_of(group: str, controller: str, name: str) -> str:
    root = system_hierarchies().v1.get(controller) or Path("/sys/fs/cgroup")
    return (root / group.lstrip("/") / name).read_text()


async def test_a_build_succeeds_and_its_steps_run_in_the_limited_group(
    docker: Docker, context: Path, machine: Machine
) -> None:
    built = await docker.build(context, "cat /proc/self/cgroup >&2")
    assert built.status == 0, built.complaint
    assert machine.layout.build_steps_group in built.complaint


async def test_the_build_engine_itself_is_in_the_limited_group(machine: Machine) -> None:
    pid = read_pid(machine.layout.run / "build-engine" / "dockerd.pid")
    assert machine.layout.build_engine_group in Path(f"/proc/{pid}/cgroup").read_text()


async def test_a_build_keeps_to_its_processors(docker: Docker, context: Path, machine: Machine) -> None:
    built = await docker.build(context, "cat /proc/self/status >&2")
    listed = next(line for line in built.complaint.splitlines() if "Cpus_allowed_list" in line)
    assert listed.split()[-1] == ",".join(map(str, machine.build_plan.cores))
    assert len(machine.build_plan.cores) == max(1, math.ceil(len(os.sched_getaffinity(0)) / 2))


async def test_a_build_that_takes_too_much_memory_is_killed_and_the_group_counts_it(
    docker: Docker, context: Path, machine: Machine
) -> None:
    built = await docker.build(context, "x=0123456789abcdef; while true; do x=$x$x; done")
    assert built.status != 0
    assert "137" in built.complaint
    if "memory" in system_hierarchies().v1:
        assert int(read_of(machine.layout.build_steps_group, "memory", "memory.failcnt")) > 0
    assert await engine_info(docker.url) is not None


async def test_a_build_that_fills_its_disk_fails_and_the_machine_keeps_its_own(
    docker: Docker, context: Path, machine: Machine
) -> None:
    before = shutil.disk_usage("/").free
    built = await docker.build(context, "dd if=/dev/zero of=/big bs=1M count=2000")
    assert built.status != 0
    assert "No space left" in built.complaint
    assert before - shutil.disk_usage("/").free < 2 * DISK
    await docker.run("builder", "prune", "--force", "--all")
    assert (await docker.build(context, "true")).status == 0


async def test_the_builder_names_the_disk_limit_and_the_next_build_has_room_again(
    docker: Docker, context: Path, machine: Machine, tmp_path: Path
) -> None:
    options = BuildKitOptions(tmp_path / "state", docker.url, docker.url, disk_bytes=DISK)
    builder = BuildKitBuilder(options)

    async def build(step: str) -> str:
        context.mkdir(exist_ok=True)
        shutil.copy(docker.busybox, context / "busybox")
        dockerfile = f'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", {step}]\n'
        order = BuildOrder(uuid4(), UUID(int=1), uuid4(), context, dockerfile, is_planned=False)
        return await builder.build(order, Lines())

    with pytest.raises(BuildFailed) as failed:
        await build('"dd", "if=/dev/zero", "of=/big", "bs=1M", "count=2000"')
    assert failed.value.limit is Limit.DISK
    assert "disk limit of 0.5 GiB" in failed.value.sentence
    assert "build_disk_bytes" in failed.value.hint
    assert await build('"dd", "if=/dev/zero", "of=/small", "bs=1M", "count=200"')
    await builder.close()


async def test_a_build_step_reaches_no_port_of_the_host(docker: Docker, context: Path, machine: Machine) -> None:
    reached: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(str(writer.get_extra_info("peername")))
        writer.close()

    async with await asyncio.start_server(answer, "0.0.0.0", 0) as server:
        port = server.sockets[0].getsockname()[1]
        gateway = gateway_of(machine.installation.build_network)
        _, probe = await asyncio.open_connection(gateway, port)  # it does answer, to the host itself
        probe.close()
        built = await docker.build(
            context, f"nc -w 2 {gateway} {port} </dev/null && echo REACHED {port} || echo refused {port}"
        )
    assert f"refused {port}" in built.complaint
    assert len(reached) == 1


async def fetched(docker: Docker, context: Path, url: str) -> Result:
    """Let the build engine itself fetch a file. A URL that was not asked for before: it would be remembered."""
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(f"FROM scratch\nADD {url}/{uuid4()} /got\n")
    return await docker.attempt("build", "--progress", "plain", str(context))


async def test_the_build_engine_fetches_nothing_from_the_machine_itself(
    docker: Docker, context: Path, machine: Machine
) -> None:
    own_address = network_address()
    with file_server("0.0.0.0") as server:
        gateway = gateway_of(machine.installation.build_network)
        for host in ("127.0.0.1", "localhost", gateway, own_address):
            url = f"http://{host}:{server.server_port}"
            assert httpx.get(url, trust_env=False).text == "hello"
            server.asked.clear()
            built = await fetched(docker, context, url)
            assert built.status != 0
            assert server.asked == []
        (context / "Dockerfile").write_text(f"FROM 127.0.0.1:{server.server_port}/own/base:1\n")
        assert (await docker.attempt("build", str(context))).status != 0
        (context / "Dockerfile").write_text(
            f"FROM scratch\nCOPY --from=127.0.0.1:{server.server_port}/own/base:1 / /\n"
        )
        assert (await docker.attempt("build", str(context))).status != 0
        (context / "Dockerfile").write_text(f"FROM scratch\nADD git://127.0.0.1:{server.server_port}/base.git /\n")
        assert (await docker.attempt("build", str(context))).status != 0
        assert server.asked == []


async def test_the_build_engine_is_refused_cloud_metadata_and_environments_at_once(
    docker: Docker, context: Path, machine: Machine
) -> None:
    inside = machine.installation.network_pool.network_address + 10
    for host in ("169.254.169.254", str(inside)):
        before = time.monotonic()
        built = await fetched(docker, context, f"http://{host}")
        assert built.status != 0
        assert time.monotonic() - before < 20, built.complaint


async def test_the_build_engine_reaches_the_mirror_that_the_settings_name(
    docker: Docker, context: Path, mirror: FileServer
) -> None:
    built = await fetched(docker, context, f"http://127.0.0.1:{mirror.server_port}")
    assert built.status == 0, built.complaint
    assert mirror.asked


async def test_the_build_engine_reaches_a_mirror_whose_name_leads_elsewhere_now(
    docker: Docker, context: Path, machine: Machine, mirror: FileServer
) -> None:
    """And no longer where it led before, after a while; what cannot be told closes nothing."""
    present = ip_address("127.0.0.1")
    addresses, now = [frozenset({present})], [0.0]

    async def resolve(places: Iterable[Place]) -> dict[Place, frozenset[IPAddress]]:
        return dict.fromkeys(places, addresses[0])

    with file_server("127.0.0.2") as moved:
        url = f"http://127.0.0.2:{moved.server_port}"
        places = [("mirror.test", mirror.server_port), ("mirror.test", moved.server_port)]
        mirrors = Mirrors(machine.layout.firewall_table, places, resolve, lambda: now[0])
        await mirrors.follow()
        assert (await fetched(docker, context, url)).status != 0
        addresses[0] = frozenset({ip_address("127.0.0.2")})
        await mirrors.follow()
        built = await fetched(docker, context, url)
        assert built.status == 0, built.complaint
        now[0] = STAY_OPEN_SECONDS
        addresses[0] = frozenset()
        await mirrors.follow()
        assert (await fetched(docker, context, f"http://127.0.0.1:{mirror.server_port}")).status == 0
        addresses[0] = frozenset({ip_address("127.0.0.2")})
        await mirrors.follow()
        assert (await fetched(docker, context, f"http://127.0.0.1:{mirror.server_port}")).status != 0
        addresses[0] = frozenset({present})  # as other tests have it
        await mirrors.follow()


async def test_where_there_are_no_rules_for_the_build_engine_nothing_is_opened() -> None:
    await Mirrors("trackside_none", endpoints(["127.0.0.1:5000"])).follow()


def network_address() -> str:
    """The machine's own address in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])


async def test_a_build_step_may_ask_our_resolver_for_names(docker: Docker, context: Path, machine: Machine) -> None:
    gateway = gateway_of(machine.installation.build_network)
    asked: list[bytes] = []

    class Resolver(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked.append(data)
            header = data[:2] + b"\x81\x80" + data[4:6] + b"\x00\x01" + b"\x00" * 4
            question = data[12:]
            record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04" + bytes([192, 0, 2, 77])
            if question[-4:-2] != b"\x00\x01":
                header, record = data[:2] + b"\x81\x80" + data[4:6] + b"\x00" * 6, b""
            self.transport.sendto(header + question + record, addr)  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Resolver, local_addr=(gateway, 53))
    try:
        built = await docker.build(context, "nslookup db.railway.internal; cat /etc/resolv.conf")
    finally:
        transport.close()
    assert asked
    assert gateway in built.complaint
    assert "192.0.2.77" in built.complaint


async def test_a_killed_build_engine_comes_back_on_the_same_disk(
    docker: Docker, context: Path, machine: Machine
) -> None:
    assert (await docker.build(context, "echo cached-step")).status == 0
    pid = read_pid(machine.layout.run / "build-engine" / "dockerd.pid")
    assert pid
    os.kill(pid, signal.SIGKILL)
    await start_build_engine(machine)
    assert not is_alive(pid, command_has="dockerd")
    again = await docker.build(context, "echo cached-step")
    assert again.status == 0
    assert "CACHED" in again.complaint
