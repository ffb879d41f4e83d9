"""The machine goes down under the platform, and parts of it alone; what served serves, or does again, each by its own name."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from e2e.conftest import until
from survival.truth import assert_true
from survival.world import Service, World
from trackside.host.loop_disk import mounts_below
from trackside.host.process_table import processes_of
from trackside.kit.failpoints import MOMENTS

CONTROL_PLANE = ("watcher", "watchdog", "gateway", "deployer", "builder", "monitor", "edge", "build-engine", "postgres")


@pytest.fixture(scope="module")
def three(world: World) -> list[Service]:
    """Three services in projects of their own, each saying its own name."""
    services = [world.service() for _ in range(3)]
    services[1].configure(restartPolicyType="NEVER")  # when it ends by itself: it did not
    for service in services:
        service.set(VERSION=service.name)
        service.deploy()
        until(lambda service=service: service.newest["status"] == "SUCCESS" and service.says() == service.name)
    return services


@dataclass
class Asker:
    """Asks every host name again and again, and keeps what each has answered; refused connections are left out."""

    world: World
    hosts: dict[str, str]
    answers: dict[str, list[str]]
    is_over: threading.Event

    def run(self) -> None:
        url = f"http://127.0.0.1:{self.world.platform.edge_port}/"
        while not self.is_over.is_set():
            for name, host in self.hosts.items():
                with suppress(httpx.TransportError):
                    answer = httpx.get(url, headers={"Host": host}, timeout=5, trust_env=False)
                    self.answers[name].append(answer.text if answer.status_code == 200 else str(answer.status_code))
            self.is_over.wait(0.01)


@contextmanager
def asking(world: World, services: list[Service]) -> Iterator[dict[str, list[str]]]:
    """What each service's host name answers meanwhile."""
    asker = Asker(world, {s.name: s.host for s in services}, {s.name: [] for s in services}, threading.Event())
    thread = threading.Thread(target=asker.run)
    thread.start()
    try:
        yield asker.answers
    finally:
        asker.is_over.set()
        thread.join()


def power_off(world: World) -> None:
    """As far as it can be played: nobody is told, and nothing stays but the disk."""
    layout = world.layout
    while left := processes_of(layout.installation, layout.data, layout.control_groups):
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    for mount in (*mounts_below(layout.run), *mounts_below(layout.data)):
        subprocess.run(["umount", "--lazy", mount], check=True)
    subprocess.run(["nft", "delete", "table", "inet", layout.firewall_table], check=True)
    prefix = json.loads((world.platform.home / "settings.json").read_text())["interface_prefix"]
    bridges = [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(prefix)]
    assert bridges, "there was no network to lose"
    for bridge in bridges:
        subprocess.run(["ip", "link", "delete", bridge], check=True)
    shutil.rmtree(layout.run)


@contextmanager
def control_plane_off(world: World) -> Iterator[None]:
    """Everything of ours off but HAProxy, and the engine with its containerd."""
    for name in CONTROL_PLANE:
        assert world.stop(name)
    world.kill("supervisor")
    assert [name for name in CONTROL_PLANE if world.pid(name)] == []
    try:
        yield
        assert [name for name in (*CONTROL_PLANE, "supervisor") if world.pid(name)] == []
    finally:
        world.platform.cli.run("server", "start")


def test_after_a_power_failure_every_host_name_answers_from_its_own_app_and_never_from_another(
    world: World, three: list[Service]
) -> None:
    with asking(world, three) as before:
        until(lambda: all(before.values()), 30)
        power_off(world)
    with asking(world, three) as answers:
        world.platform.cli.run("server", "start")
        until(lambda: all(answers[s.name][-1:] == [s.name] for s in three), 120, lambda: answers)
    for service in three:
        assert set(answers[service.name]) == {service.name}, "the edge opens when all are well"
    assert_true(world)


def test_after_a_reboot_in_order_an_app_that_ended_by_its_signal_serves_again(
    world: World, three: list[Service]
) -> None:
    """Also where it is never to be restarted: who is told to end with the machine did not want to."""
    service = three[1]
    assert world.stop("deployer"), "it ends with all others, and writes nothing down any more"
    ours = world.engine("ps", "-q", "--filter", f"label=dev.trackside.service-instance={service.id}").strip()
    os.kill(int(world.engine("inspect", "--format", "{{.State.Pid}}", ours)), signal.SIGTERM)
    until(lambda: world.engine("inspect", "--format", "{{.State.Status}}", ours).strip() == "exited", 30)
    power_off(world)
    world.platform.cli.run("server", "start")
    until(lambda: service.says() == service.name, 60, lambda: service.newest)
    until(lambda: service.newest["status"] == "SUCCESS", 30, lambda: service.newest)
    assert_true(world)


def test_the_edge_killed_before_and_after_it_opens_again_opens(world: World, three: list[Service]) -> None:
    power_off(world)
    points = [f"Open.{moment}" for moment in MOMENTS]
    world.arm("edge", points[0])
    with asking(world, three) as answers, ThreadPoolExecutor(1) as pool:
        starting = pool.submit(world.platform.cli.run, "server", "start")
        for point, following in zip(points, (points[1], None), strict=True):
            until(lambda point=point: world.is_halted("edge", point) or starting.done(), 120)
            if not world.is_halted("edge", point):
                break  # the kill came when all was done: there was nothing to be done again
            if following:
                world.arm("edge", following)
            world.kill("edge")
            world.let_go("edge", point)
        starting.result(120)
        world.disarm()
        until(lambda: all(answers[s.name][-1:] == [s.name] for s in three), 120, lambda: answers)
    for service in three:
        assert set(answers[service.name]) == {service.name}, answers
    assert_true(world)


def test_apps_are_served_with_the_whole_control_plane_off_and_a_crashed_replica_comes_back_at_its_address(
    world: World, three: list[Service]
) -> None:
    victim = three[0]
    address = victim.shape["active_deployment"]["replicas"][0]["address"]
    with asking(world, three[1:]) as answers, control_plane_off(world):
        assert victim.says("/exit?code=1") != "1"
        until(lambda: victim.says() == victim.name, 60, lambda: "the engine restarts it, and it serves")
    for service in three[1:]:
        assert set(answers[service.name]) == {service.name}, answers
    until(lambda: victim.shape["active_deployment"]["replicas"][0]["address"] == address, 30)
    assert_true(world)
