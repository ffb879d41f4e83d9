"""The engine of builds, for real: its limits hold, and a build reaches only what it may.

One engine for the file; each build takes a second or two, for it is a real one.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from trackside.host.alone import start_build_engine
from trackside.host.bridges import gateway_of
from trackside.host.cgroups import system_hierarchies
from trackside.host.engine import engine_info
from trackside.host.machine import Machine, MachineOptions
from trackside.host.process_table import is_alive, read_pid

from .conftest import Docker

MEMORY = 96 << 20
DISK = 512 << 20


@pytest.fixture(scope="module")
def machine(run_parts: Callable[..., AbstractContextManager[Machine]]) -> Iterator[Machine]:
    options = MachineOptions(build_memory_bytes=MEMORY, build_disk_bytes=DISK)
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
