"""Control groups, on this machine's kernel."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from trackside.host.cgroup_limits import Limits
from trackside.host.cgroups import ControlGroups, system_hierarchies


@pytest.fixture
def group() -> Iterator[str]:
    name = f"/trackside-test-{os.getpid()}"
    yield name
    groups = ControlGroups(system_hierarchies())
    groups.kill(name)
    groups.remove(name)


@pytest.mark.parametrize("root", ["", "/", "//", "/..", "/trackside-x/../.."])
def test_the_root_of_all_groups_is_never_touched(root: str) -> None:
    groups = ControlGroups(system_hierarchies())
    for verb in (groups.processes, groups.existing):  # the looking ones: those that end and remove go by the same path
        with pytest.raises(ValueError, match="no group of ours"):
            verb(root)


def test_limits_may_be_raised_and_lowered_again(group: str) -> None:
    groups = ControlGroups(system_hierarchies())
    for mebibytes in (64, 512, 32):
        groups.create(group, Limits(cpu_cores=0.5, memory_bytes=mebibytes << 20, processes=50))
    assert groups.existing(group)


def test_a_group_is_killed_and_removed_with_all_below_it(group: str) -> None:
    groups = ControlGroups(system_hierarchies())
    groups.create(group, Limits())
    groups.create(f"{group}/below", Limits())
    sleeper = subprocess.Popen(["sleep", "60"])
    groups.join(f"{group}/below", sleeper.pid)
    assert groups.processes(group) == {sleeper.pid}
    groups.kill(group, seconds=0.2)
    assert sleeper.wait(5) == -9
    groups.remove(group)
    assert not groups.existing(group)
