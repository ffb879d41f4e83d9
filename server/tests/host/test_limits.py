"""Limits of control groups, and the mounts and pid files they are read from."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from trackside.host.builds import build_cores, build_cpu
from trackside.host.cgroup_limits import Limits, v1_files, v2_files
from trackside.host.cgroups import read_hierarchies
from trackside.host.launch import Launch, read_launch, remove_stale_pid_files
from trackside.host.layout import Layout
from trackside.host.loop_disk import mounts_below
from trackside.host.shares import group_of, shares

LIMITS = Limits(cpu_cores=1.5, cores=(2, 3), weight=5, yields=True, memory_bytes=1 << 30, processes=100)
HYBRID = """cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/devices cgroup rw,relatime,devices 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
"""


def test_limits_on_version_two() -> None:
    assert v2_files(LIMITS) == snapshot(
        {
            "cpu.max": "150000 100000",
            "cpuset.cpus": "2,3",
            "cpu.weight": "5",
            "io.weight": "default 5",
            "cpu.idle": "1",
            "memory.max": "1073741824",
            "memory.swap.max": "0",
            "memory.oom.group": "0",
            "pids.max": "100",
        }
    )


def test_limits_on_version_one() -> None:
    assert v1_files(LIMITS) == snapshot(
        {
            "cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000", "cpu.shares": "51", "cpu.idle": "1"},
            "cpuacct": {},
            "cpuset": {"cpuset.cpus": "2,3"},
            "memory": {"memory.limit_in_bytes": "1073741824", "memory.memsw.limit_in_bytes": "1074790400"},
            "pids": {"pids.max": "100"},
            "blkio": {"blkio.bfq.weight": "5"},
        }
    )


@pytest.mark.parametrize(
    ("setting", "available", "cores"),
    [
        (0.0, {0}, (0,)),
        (0.0, {0, 1}, (1,)),
        (0.0, {4, 5, 6, 7, 8}, (6, 7, 8)),
        (1.5, {0, 1, 2}, (1, 2)),
        (9, {0, 1}, (0, 1)),
    ],
)
def test_building_keeps_to_the_last_processors(setting: float, available: set[int], cores: tuple[int, ...]) -> None:
    assert build_cores(build_cpu(setting, len(available)), available) == cores


def test_no_limit_writes_no_file() -> None:
    assert v2_files(Limits()) == {}
    assert not any(v1_files(Limits()).values())


def test_where_both_versions_are_mounted_the_controllers_are_in_version_one() -> None:
    found = read_hierarchies(HYBRID)
    assert not found.limits_by_v2
    assert found.v1["cpu"] == found.v1["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert Path("/sys/fs/cgroup/devices") in found.roots
    assert Path("/sys/fs/cgroup/unified") in found.roots


def test_version_two_alone_holds_the_limits() -> None:
    found = read_hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
    assert found.limits_by_v2
    assert found.roots == [Path("/sys/fs/cgroup")]


def test_mounts_are_found_the_innermost_first_with_blanks_in_their_names(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "a /x ext4 rw 0 0\nb /x/y\\040z overlay rw 0 0\nc /xylophone tmpfs rw 0 0\nd /x/y\\040z/w nsfs rw 0 0\n"
    )
    assert mounts_below(Path("/x"), table) == [Path("/x/y z/w"), Path("/x/y z"), Path("/x")]


def test_a_launch_reads_back_as_it_was_written(tmp_path: Path) -> None:
    launch = Launch(("/bin/x", "a b"), {"/pid": "x"}, {"A": "ü"}, "/g", "u", "/wait", "/d", adopts_orphans=True)
    (tmp_path / "launch.json").write_text(launch.as_json())
    assert read_launch(tmp_path / "launch.json") == launch


def test_a_pid_file_whose_number_was_given_to_another_process_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text(f"{os.getpid()}\n")
    remove_stale_pid_files({str(file): "no such text in my command line"})
    assert not file.exists()


def test_a_pid_file_of_a_living_owner_stays(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text(str(os.getpid()))
    remove_stale_pid_files({str(file): "py"}, seconds=0.1)
    assert file.exists()


def test_who_is_waited_for_weighs_more_than_apps_and_they_more_than_what_works() -> None:
    there = Layout("abc", Path("/h"), Path("/d"), Path("/r"))
    weights = {group: limits.weight or 0 for group, limits in shares(there).items()}
    ordered = (there.serving_group, there.apps_group, there.working_group, there.behind_group)
    assert all(weights[first] > weights[second] > 0 for first, second in pairwise(ordered))
    assert [group_of(there, name) for name in ("haproxy", "deployer", "monitor")] == [ordered[0], *ordered[2:]]
    assert next(iter(shares(there))) == there.control_group, "parents are made before what is in them"
