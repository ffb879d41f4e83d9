"""The whole start and stop of the machine's parts, for real. Each start takes a few seconds: it is what is tested."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from trackside.host.alone import parts_alone
from trackside.host.doctor import Health, examine
from trackside.host.engine import engine_info
from trackside.host.inspect import take_snapshot
from trackside.host.installation import exclusively, layout_of, open_installation
from trackside.host.machine import Machine, MachineOptions
from trackside.host.process_table import is_alive, processes_of
from trackside.host.processes import Supervisor
from trackside.host.start import Progress, Started, start
from trackside.host.stop import Stopped, stop

from .conftest import Docker

PARTS = frozenset({"database", "engine", "build engine"})
OPTIONS = MachineOptions(build_disk_bytes=256 << 20, processes=())


async def nothing() -> None:
    return None


def quietly(_: Progress) -> None:
    return None


async def started(machine: Machine) -> Started:
    return await start(machine, quietly, nothing)


async def stopped(machine: Machine) -> Stopped:
    return await stop(machine, quietly)


@asynccontextmanager
async def machine_in(directory: Path, engine: str = "embedded") -> AsyncGenerator[Machine]:
    environment = {"TRACKSIDE_API_PORT": "37700", "TRACKSIDE_EDGE_PORT": "37780", "TRACKSIDE_ENGINE_URL": engine}
    directory.mkdir(mode=0o711)
    directory.chmod(0o711)
    installation = await open_installation(directory / "home", environment, directory / "reg")
    layout = layout_of(installation, directory / "home", directory / "reg")
    machine = Machine(layout, installation, OPTIONS, environment)
    try:
        yield machine
    finally:
        await stopped(machine)


async def left_of(machine: Machine) -> dict[str, list[str]]:
    """Everything on the machine that names this installation."""
    marks = (machine.layout.installation, machine.installation.interface_prefix)
    seen = (await take_snapshot()).naming(*marks)
    return {kind: sorted(lines) for kind, lines in seen.things.items() if lines}


def supervisor_of(machine: Machine) -> Supervisor:
    return Supervisor(machine.supervisor_plan({}), machine.layout.supervisor_config)


async def pid_of(machine: Machine, name: str) -> int:
    return next(status.pid for status in await supervisor_of(machine).status() if status.name == name)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Nobody tells when the machine's processes and engines have come so far: they are looked at again and again."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def kill_and_await_the_next(supervisor: Supervisor) -> None:
    killed = await supervisor.pid()
    assert killed
    os.kill(killed, signal.SIGKILL)

    async def is_replaced() -> bool:
        return await supervisor.pid() not in (None, killed) and await supervisor.is_running()

    await until(is_replaced)


def waiting_twice(machine: Machine) -> list[str]:
    """What more than one process waits to become."""
    layout = machine.layout
    found = processes_of(layout.installation, layout.data, ())
    counts = Counter(process.command for process in found if "trackside.host.launch" in process.command)
    return [command for command, count in counts.items() if count > 1 and not command.endswith("watcher.json")]


async def test_start_and_stop_twice_leave_nothing_behind_and_find_each_other_again(directory: Path) -> None:
    async with machine_in(directory) as machine:
        assert not await left_of(machine)
        for _ in range(2):
            assert not (await started(machine)).was_running
            assert set(await left_of(machine)) >= {
                "processes",
                "rules",
                "interfaces",
                "mounts",
                "loops",
                "control groups",
            }
            again = await started(machine)
            assert again.was_running
            report = await stopped(machine)
            assert report.remaining == []
            assert not await left_of(machine)
        assert (await stopped(machine)).remaining == []


async def test_a_stop_removes_containers_and_networks_but_no_image(
    directory: Path, busybox: Path, tmp_path: Path
) -> None:
    async with machine_in(directory) as machine:
        await started(machine)
        docker = Docker(f"unix://{machine.layout.engine_socket}", busybox)
        assert (await docker.build(tmp_path, "true", network="none")).status == 0
        label = f"dev.trackside.installation={machine.layout.installation}"
        await docker.run("network", "create", "--label", label, "--subnet", "10.99.98.0/24", "ours")
        words = ("--detach", "--label", label, "--network", "ours", "trackside-test:1", "sleep", "600")
        await docker.run("run", *words)
        report = await stopped(machine)
        assert report.containers == 1
        assert not await left_of(machine)
        await started(machine)
        assert await docker.run("ps", "--all", "--quiet") == ""
        assert await docker.run("images", "--quiet", "trackside-test:1")


async def test_a_killed_part_is_back_by_itself(directory: Path) -> None:
    async with machine_in(directory) as machine:
        await started(machine)
        for name in ("postgres", "containerd", "engine", "build-engine"):
            pid = await pid_of(machine, name)
            os.kill(pid, signal.SIGKILL)

            async def is_back(name: str = name, pid: int = pid) -> bool:
                return await pid_of(machine, name) not in {0, pid}

            await until(is_back, 30)

        async def is_well() -> bool:
            return all(one.health is not Health.FAILED for one in await examine(machine) if one.check in PARTS)

        await until(is_well, 60)


async def test_a_stop_finds_everything_though_the_supervisor_was_killed(directory: Path) -> None:
    async with machine_in(directory) as machine:
        await started(machine)
        supervisor = await supervisor_of(machine).pid()
        engine = await pid_of(machine, "engine")
        assert supervisor
        os.kill(supervisor, signal.SIGKILL)

        async def is_gone() -> bool:
            return not await supervisor_of(machine).is_running()

        await until(is_gone, 5)
        assert is_alive(engine)
        report = await stopped(machine)
        assert report.remaining == []
        assert report.processes > 3
        assert not await left_of(machine)


async def test_what_a_killed_supervisor_ran_goes_on_under_the_next_one_and_has_no_twin(directory: Path) -> None:
    async with machine_in(directory) as machine:
        await started(machine)
        supervisor = supervisor_of(machine)
        before = {status.name: status.pid for status in await supervisor.status()}

        async def is_up() -> bool:
            return all(supervisor.holder(name) for name in before.keys() - {"supervisor"})

        await until(is_up)  # what was still coming up would end with its supervisor
        for _ in range(3):
            await kill_and_await_the_next(supervisor)
        assert (await started(machine)).was_running
        assert waiting_twice(machine) == []
        after = {status.name: status.pid for status in await supervisor.status()}
        brought_back = {"supervisor", "watcher"}
        assert {name for name, pid in after.items() if pid != before[name]} == brought_back
        findings = {finding.check: finding.health for finding in await examine(machine)}
        assert {findings[part] for part in PARTS} == {Health.OK}
        os.kill(after["engine"], signal.SIGKILL)

        async def is_engine_back() -> bool:
            return supervisor.holder("engine") not in (None, after["engine"])

        await until(is_engine_back)


async def test_an_engine_that_was_there_is_used_and_neither_stopped_nor_emptied(
    directory: Path, busybox: Path, tmp_path: Path
) -> None:
    async with parts_alone(directory.with_name(f"{directory.name}o"), {"engine"}) as other:
        url = f"unix://{other.layout.engine_socket}"
        docker = Docker(url, busybox)
        assert (await docker.build(tmp_path, "true", network="none")).status == 0
        words = ("--detach", "--network", "none", "trackside-test:1", "sleep", "600")
        foreign = await docker.run("run", *words)
        async with machine_in(directory, engine=url) as machine:
            assert not (await started(machine)).engine.is_ours
            ours = await docker.run(
                "run", "--label", f"dev.trackside.installation={machine.layout.installation}", *words
            )
            report = await stopped(machine)
            assert (report.containers, report.remaining) == (1, [])
        assert await engine_info(url) is not None
        assert await docker.run("ps", "--quiet", "--no-trunc") == foreign
        assert ours not in await docker.run("ps", "--all", "--quiet", "--no-trunc")


MAKER = """
import subprocess, sys
while True:
    subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
"""


def making_containers(machine: Machine, url: str) -> tuple[Machine, str]:
    """The machine with a process in a deployer's place that makes containers on this engine until it is ended; their label."""
    label = f"dev.trackside.installation={machine.layout.installation}"
    made = ("create", "--label", label, "--network", "none", "trackside-test:1", "sleep", "600")
    words = ("-c", MAKER, "/usr/bin/docker", "--host", url, *made)
    return replace(machine, options=replace(OPTIONS, haproxy=words, processes=("haproxy",))), label


async def leave_alone(machine: Machine) -> None:
    """Kill the supervisor, and who would bring it back."""
    pids = {status.name: status.pid for status in await supervisor_of(machine).status()}
    for name in ("watcher", "supervisor"):
        os.kill(pids[name], signal.SIGKILL)


async def test_a_deployer_whose_supervisor_is_dead_leaves_nothing_on_an_engine_that_is_not_ours(
    directory: Path, busybox: Path, tmp_path: Path
) -> None:
    """Played by a process that makes containers until it is ended."""
    async with parts_alone(directory.with_name(f"{directory.name}o"), {"engine"}) as other:
        url = f"unix://{other.layout.engine_socket}"
        docker = Docker(url, busybox)
        assert (await docker.build(tmp_path, "true", network="none")).status == 0
        async with machine_in(directory, engine=url) as machine:
            busy, label = making_containers(machine, url)
            await started(busy)
            await leave_alone(busy)
            listing = ("ps", "--all", "--quiet", "--filter", f"label={label}")
            seen = await docker.run(*listing)

            async def is_making() -> bool:
                return await docker.run(*listing) != seen

            await until(is_making)
            assert (await stopped(busy)).remaining == []
            assert await docker.run(*listing) == ""


async def test_a_deployer_whose_supervisor_is_dead_makes_no_container_once_the_apps_are_removed(
    directory: Path, busybox: Path, tmp_path: Path
) -> None:
    """Played as above, on an engine of ours."""
    async with machine_in(directory) as machine:
        url = f"unix://{machine.layout.engine_socket}"
        busy, _ = making_containers(machine, url)
        await started(busy)
        docker = Docker(url, busybox)
        assert (await docker.build(tmp_path, "true", network="none")).status == 0
        await leave_alone(busy)

        async def has_made_one() -> bool:
            return bool(await docker.run("ps", "--all", "--quiet"))

        await until(has_made_one)
        assert (await stopped(busy)).remaining == []
        assert [*(busy.engine_plan.data / "containers").iterdir()] == []


@pytest.mark.parametrize("later", [0.0, 0.2, 0.5])
async def test_a_stop_while_a_killed_supervisor_is_brought_back_leaves_nothing(directory: Path, later: float) -> None:
    async with machine_in(directory) as machine:
        await started(machine)
        pids = {status.name: status.pid for status in await supervisor_of(machine).status()}
        os.kill(pids["supervisor"], signal.SIGKILL)
        await asyncio.sleep(later)
        assert (await stopped(machine)).remaining == []
        assert not processes_of(machine.layout.installation, machine.layout.data, machine.layout.control_groups)


async def test_steps_are_announced_in_order_each_with_its_time(directory: Path) -> None:
    said: list[Progress] = []
    async with machine_in(directory) as machine:
        await start(machine, said.append, nothing)
    total = said[0].total
    assert [(each.number, each.seconds is None) for each in said] == [
        (number, begins) for number in range(1, total + 1) for begins in (True, False)
    ]


async def test_a_start_is_refused_while_another_runs(directory: Path) -> None:
    async with machine_in(directory) as machine:
        with exclusively(machine.layout.lock_file), pytest.raises(Exception, match="under way"):
            await started(machine)
