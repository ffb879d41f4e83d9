"""Whose a process is: only what an installation's own marks name. What is found here may be ended, so nothing else may be."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from trackside.host.process_table import all_processes, family, processes_of


@pytest.fixture
def installation() -> str:
    return secrets.token_hex(4)


def test_an_installation_without_processes_has_none_on_this_busy_machine(installation: str) -> None:
    data, group = Path("/var/lib/trackside") / installation, f"/trackside-{installation}"
    assert processes_of(installation, data, (group,)) == []
    assert processes_of(installation, data, ()) == []
    assert len(list(all_processes())) > 1


@pytest.mark.parametrize("group", ["", "/", "/docker", "/trackside-00000000"])
def test_a_group_that_others_could_be_in_is_refused(installation: str, group: str) -> None:
    with pytest.raises(ValueError, match="not the installation's own"):
        processes_of(installation, Path("/var/lib/trackside") / installation, (group,))


@pytest.mark.parametrize("data", ["/", "/var/lib", "/root", "."])
def test_a_directory_that_others_could_work_in_is_refused(installation: str, data: str) -> None:
    with pytest.raises(ValueError, match="not the installation's own"):
        processes_of(installation, Path(data), ())


@pytest.mark.parametrize("name", ["", "*", "abc", "0123456", "0123456g", "01234567 ", "trackside"])
def test_what_is_no_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no installation's id"):
        processes_of(name, Path("/var/lib/trackside") / name, ())


def test_a_process_is_found_by_the_mark_in_its_environment_alone(installation: str) -> None:
    marked = subprocess.Popen(["/bin/sleep", "60"], env={"TRACKSIDE_INSTALLATION": installation})
    unmarked = subprocess.Popen(["/bin/sleep", "60"], env={"TRACKSIDE_INSTALLATION": f"{installation}0"})
    try:
        found = processes_of(installation, Path("/var/lib/trackside") / installation, ())
        assert [process.pid for process in found] == [marked.pid]
    finally:
        for process in (marked, unmarked):
            process.kill()
            process.wait()


def test_a_process_is_found_by_the_directory_it_works_in(installation: str, tmp_path: Path) -> None:
    data = tmp_path / installation
    data.mkdir()
    inside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=data)
    try:
        assert [process.pid for process in processes_of(installation, data, ())] == [inside.pid]
    finally:
        inside.kill()
        inside.wait()


def test_this_process_and_its_ancestors_are_one_family() -> None:
    assert {os.getpid(), os.getppid()} <= family(os.getpid())
