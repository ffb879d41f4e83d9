"""An engine of our own with the firewall in front, for real: what a container reaches, and what survives a kill.

One engine for the file; the world outside is a network namespace of its own.
"""

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from trackside.host.alone import start_containerd, start_engine
from trackside.host.engine import EngineChoice, choose_engine, engine_info, remove_containers, remove_networks
from trackside.host.errors import EngineUnavailable
from trackside.host.machine import Machine
from trackside.host.process_table import is_alive, read_pid

from .conftest import Docker

OUTSIDE = "198.51.100.2"
METADATA = "169.254.169.254"


@pytest.fixture(scope="module")
def machine(run_parts: Callable[..., AbstractContextManager[Machine]]) -> Iterator[Machine]:
    with run_parts({"engine"}) as machine:
        yield machine


@pytest.fixture(scope="module")
def docker(machine: Machine, busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Docker:
    """With an image that has busybox."""
    docker = Docker(f"unix://{machine.layout.engine_socket}", busybox)
    built = asyncio.run(docker.build(tmp_path_factory.mktemp("image"), "true", network="none"))
    assert built.status == 0, built.complaint
    return docker


@dataclass
class Apps:
    """Makes networks and containers as the platform does: labelled, with bridges of our prefix."""

    docker: Docker
    machine: Machine
    networks: int = 0

    @property
    def label(self) -> str:
        return f"dev.trackside.installation={self.machine.layout.installation}"

    async def network(self) -> str:
        self.networks += 1
        pool = list(self.machine.installation.network_pool.subnets(new_prefix=24))
        name = f"{self.machine.installation.interface_prefix}n{self.networks}"
        subnet = ("--subnet", str(pool[self.networks]), "--gateway", str(pool[self.networks].network_address + 1))
        bridge = ("--opt", f"com.docker.network.bridge.name={name}")
        await self.docker.run("network", "create", "--label", self.label, *subnet, *bridge, name)
        return name

    async def serve(self, network: str) -> tuple[str, str]:
        """A web server; (container, address)."""
        name = await self.docker.run(
            "run",
            "--detach",
            "--label",
            self.label,
            "--network",
            network,
            "trackside-test:1",
            "httpd",
            "-f",
            "-p",
            "80",
        )
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return name, await self.docker.run("inspect", "--format", form, name)

    async def reaches(self, network: str, address: str, port: int = 80) -> bool:
        """Whether a container on the network can open a connection there."""
        command = ("nc", "-w", "2", address, str(port), "-e", "true")
        tried = await self.docker.attempt("run", "--rm", "--network", network, "trackside-test:1", *command)
        return tried.status == 0

    async def clear(self) -> None:
        await remove_containers(self.docker.url, self.machine.layout.installation)
        await remove_networks(self.docker.url, self.machine.layout.installation)
        self.networks = 0


@pytest.fixture
async def apps(docker: Docker, machine: Machine) -> Apps:
    apps = Apps(docker, machine)
    await apps.clear()
    return apps


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def outside(busybox: Path) -> Iterator[str]:
    """A host beyond this machine, with a web server, and with the address clouds keep their secrets at."""
    name = f"tsout{secrets.token_hex(2)}"
    ip("netns", "add", name)
    ip("link", "add", name, "type", "veth", "peer", "name", "up0", "netns", name)
    ip("address", "add", "198.51.100.1/24", "dev", name)
    ip("link", "set", name, "up")
    for words in (
        ("address", "add", f"{OUTSIDE}/24", "dev", "up0"),
        ("address", "add", f"{METADATA}/32", "dev", "up0"),
        ("link", "set", "up0", "up"),
        ("link", "set", "lo", "up"),
    ):
        ip("-n", name, *words)
    ip("route", "add", f"{METADATA}/32", "via", OUTSIDE)
    server = subprocess.Popen(["ip", "netns", "exec", name, busybox, "httpd", "-f", "-p", "80"])
    yield name
    server.terminate()
    server.wait()
    ip("link", "delete", name)
    ip("netns", "delete", name)


async def test_a_container_reaches_the_world_outside_though_it_has_no_address_there(apps: Apps, outside: str) -> None:
    assert await apps.reaches(await apps.network(), OUTSIDE)


async def test_a_container_never_reaches_the_address_of_a_clouds_secrets(apps: Apps, outside: str) -> None:
    network = await apps.network()
    _, writer = await asyncio.open_connection(METADATA, 80)  # it is there, for the machine
    writer.close()
    assert not await apps.reaches(network, METADATA)


async def test_containers_of_one_environment_reach_each_other_and_no_other_environment(apps: Apps) -> None:
    one, other = await apps.network(), await apps.network()
    _, address = await apps.serve(one)
    assert await apps.reaches(one, address)
    assert not await apps.reaches(other, address)


async def test_the_host_reaches_a_container_but_no_container_a_port_of_the_host(apps: Apps) -> None:
    network = await apps.network()
    _, address = await apps.serve(network)
    reader, writer = await asyncio.open_connection(address, 80)
    writer.write(b"GET /bin/busybox HTTP/1.0\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1")
    writer.close()
    gateway = address.rpartition(".")[0] + ".1"
    async with await asyncio.start_server(lambda r, w: w.close(), "0.0.0.0", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert not await apps.reaches(network, gateway, port)


async def test_nobody_outside_reaches_a_container(apps: Apps, outside: str, busybox: Path) -> None:
    _, address = await apps.serve(await apps.network())
    ip("-n", outside, "route", "add", str(apps.machine.installation.network_pool), "via", "198.51.100.1")
    tried = subprocess.run(["ip", "netns", "exec", outside, busybox, "nc", "-w", "2", address, "80", "-e", "true"])
    assert tried.returncode != 0


async def test_a_container_cannot_borrow_an_address_of_another_environment(apps: Apps) -> None:
    one, other = await apps.network(), await apps.network()
    _, target = await apps.serve(other)
    own_subnet = target.rpartition(".")[0]
    borrowed = f"{own_subnet}.77"
    route = f"ip address add {borrowed}/32 dev eth0 && ip route add {target}/32 dev eth0 src {borrowed}"
    script = f"{route}; nc -w 2 {target} 80 -e true"
    words = ("--cap-add", "NET_ADMIN", "--network", one, "trackside-test:1", "sh", "-c", script)
    assert (await apps.docker.attempt("run", "--rm", *words)).status != 0


async def test_a_killed_engine_is_back_within_two_seconds_and_no_container_notices(
    apps: Apps, machine: Machine
) -> None:
    container, address = await apps.serve(await apps.network())
    before = await apps.docker.run("inspect", "--format", "{{.State.StartedAt}}", container)
    pid = read_pid(machine.layout.run / "engine" / "dockerd.pid")
    assert pid
    os.kill(pid, signal.SIGKILL)
    began = asyncio.get_running_loop().time()
    _, writer = await asyncio.open_connection(address, 80)
    writer.close()
    await start_engine(machine)
    assert asyncio.get_running_loop().time() - began < 2
    assert await apps.docker.run("inspect", "--format", "{{.State.StartedAt}}", container) == before


async def test_a_killed_containerd_comes_back_to_its_containers(apps: Apps, machine: Machine) -> None:
    container, address = await apps.serve(await apps.network())
    config = str(machine.layout.run / "containerd" / "config.toml")
    pid = next(
        int(p.name)
        for p in Path("/proc").iterdir()
        if p.name.isdigit() and is_alive(int(p.name), command_has=f"containerd --config {config}")
    )
    os.kill(pid, signal.SIGKILL)
    _, writer = await asyncio.open_connection(address, 80)
    writer.close()
    await start_containerd(machine)
    async with asyncio.timeout(30):
        while (await apps.docker.attempt("exec", container, "true")).status != 0:
            await asyncio.sleep(0.1)


async def test_an_engine_that_answers_is_used_and_not_ours(machine: Machine, directory: Path) -> None:
    url = f"unix://{machine.layout.engine_socket}"
    chosen = await choose_engine({"DOCKER_HOST": url}, directory / "own.sock", usual_socket=directory / "none")
    assert chosen == EngineChoice(url, is_ours=False)


async def test_without_any_engine_one_of_our_own_is_chosen(directory: Path) -> None:
    chosen = await choose_engine({}, directory / "own.sock", usual_socket=directory / "none.sock")
    assert chosen == EngineChoice(f"unix://{directory}/own.sock", is_ours=True)


async def test_apps_are_not_moved_to_another_engine_when_theirs_is_away(directory: Path) -> None:
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await choose_engine({}, directory / "own.sock", remembered=f"unix://{directory}/gone.sock")


async def test_only_what_carries_our_label_is_removed(apps: Apps, machine: Machine) -> None:
    network = await apps.network()
    ours, _ = await apps.serve(network)
    foreign = await apps.docker.run("run", "--detach", "--network", "none", "trackside-test:1", "sleep", "300")
    assert await remove_containers(apps.docker.url, machine.layout.installation) == 1
    assert await apps.docker.run("ps", "--quiet", "--no-trunc") == foreign
    assert ours != foreign
    assert await engine_info(apps.docker.url)
    await apps.docker.run("rm", "--force", foreign)
