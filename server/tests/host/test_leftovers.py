"""What an installation left that is gone: found by what carries its id, cleared to the last thing, and nothing of the living."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from trackside.host.cgroup_limits import Limits
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.commands import attempt, run
from trackside.host.doctor import CHECKS, Health, Patient
from trackside.host.errors import DataPresent, StateDamaged, StillInUse
from trackside.host.inspect import take_snapshot
from trackside.host.installation import layout_of, open_installation
from trackside.host.layout import control_groups
from trackside.host.leftovers import clear, leftovers, unowned
from trackside.host.machine import Machine
from trackside.host.start import Progress

NO_ENGINE = "unix:///none.sock"


def quietly(_: Progress) -> None:
    return None


@pytest.fixture
async def machine(directory: Path) -> AsyncIterator[Machine]:
    """An installation with something of every kind on the machine, and a state directory."""
    directory.mkdir()
    installation = await open_installation(directory / "home", {}, directory / "reg")
    machine = Machine(layout_of(installation, directory / "home", directory / "reg"), installation)
    layout = machine.layout
    (layout.data / "builds").mkdir(parents=True)
    await run("mount", "-t", "tmpfs", "none", layout.data / "builds")
    await run("nft", "add", "table", "inet", layout.firewall_table)
    for group in layout.control_groups:
        ControlGroups(system_hierarchies()).create(group, Limits())
    environment = {**os.environ, "TRACKSIDE_INSTALLATION": layout.installation}
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment)
    yield machine
    process.kill()
    process.wait()
    await attempt("umount", layout.data / "builds")
    await attempt("nft", "delete", "table", "inet", layout.firewall_table)
    for group in layout.control_groups:
        ControlGroups(system_hierarchies()).remove(group)


def test_what_is_not_known_to_live_is_counted_by_kind() -> None:
    seen = [("aaaaaaaa", "mounts"), ("aaaaaaaa", "mounts"), ("aaaaaaaa", "processes"), ("bbbbbbbb", "mounts")]
    assert unowned(seen, {"bbbbbbbb"}) == {"aaaaaaaa": ["2 mounts", "1 processes"]}


async def test_what_a_removed_state_directory_leaves_is_found_by_kind_and_cleared_by_the_mend(machine: Machine) -> None:
    layout = machine.layout
    assert layout.installation not in await leftovers(layout.register, set())
    shutil.rmtree(layout.home)
    left = (await leftovers(layout.register, set()))[layout.installation]
    kinds = {words.partition(" ")[2] for words in left}
    assert kinds == {"data directory", "mounts", "firewall table", "control groups", "processes"}
    found = await CHECKS["orphans"](Patient(machine_elsewhere(machine)))
    assert found.health is Health.WARNING
    assert f"bin/trackside admin clear {layout.installation}" in found.mend
    report = await clear(layout.installation, quietly, layout.register, NO_ENGINE)
    assert (report.processes, report.remaining) == (1, [])
    assert layout.installation not in await leftovers(layout.register, set())
    assert not layout.data.exists()
    seen = (await take_snapshot()).naming(layout.installation)
    assert {kind: lines for kind, lines in seen.things.items() if lines} == {}


def machine_elsewhere(machine: Machine) -> Machine:
    """Another installation of the same register, from which the doctor looks."""
    other = replace(machine.installation, id="0" * 8)
    return Machine(layout_of(other, machine.layout.home.with_name("other"), machine.layout.register), other)


async def test_an_installation_whose_state_directory_is_there_is_not_cleared(machine: Machine) -> None:
    with pytest.raises(StillInUse):
        await clear(machine.layout.installation, quietly, machine.layout.register, NO_ENGINE)
    assert (await attempt("nft", "list", "table", "inet", machine.layout.firewall_table)).status == 0


async def test_a_database_that_is_left_is_told_and_cleared_only_where_that_is_wanted(machine: Machine) -> None:
    layout = machine.layout
    layout.postgres_data.mkdir()
    (layout.postgres_data / "PG_VERSION").write_text("16\n")
    (layout.postgres_data / "base").write_bytes(bytes(3_000_000))
    shutil.rmtree(layout.home)
    assert "1 database" in (await leftovers(layout.register, set()))[layout.installation]
    with pytest.raises(DataPresent) as refused:
        await clear(layout.installation, quietly, layout.register, NO_ENGINE)
    told = refused.value.sentence
    assert all(words in told for words in (str(layout.postgres_data), "3 MB", str(layout.home)))
    assert (layout.postgres_data / "base").exists()
    assert (await attempt("nft", "list", "table", "inet", layout.firewall_table)).status == 0
    report = await clear(layout.installation, quietly, layout.register, NO_ENGINE, with_data=True)
    assert report.remaining == []
    assert not layout.data.exists()


@pytest.mark.parametrize("name", ["", "..", "0123456", "0123456g", "0123456789", "/"])
async def test_what_is_no_id_of_an_installation_clears_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(StateDamaged):
        await clear(name, quietly, tmp_path, NO_ENGINE)


async def test_an_installation_at_work_from_another_register_is_no_leftover(directory: Path) -> None:
    """As tests and second platforms are: known by what its processes carry."""
    installation = secrets.token_hex(4)
    directory.mkdir()
    (directory / "settings.json").write_text("{}")
    group = control_groups(installation)[0]
    ControlGroups(system_hierarchies()).create(group, Limits())
    marks = {"TRACKSIDE_INSTALLATION": installation, "TRACKSIDE_HOME": str(directory)}
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, **marks})
    try:
        assert installation not in await leftovers(directory / "reg", set())
        (directory / "settings.json").unlink()
        assert installation in await leftovers(directory / "reg", set())
    finally:
        process.kill()
        process.wait()
        ControlGroups(system_hierarchies()).remove(group)
