"""The disks of a real machine: each measured once, by what lies on it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackside.host.commands import run
from trackside.host.disks import MachineDisks
from trackside.rooms.builds.model import LeastSpace


@pytest.fixture
async def small(directory: Path) -> "Iterator[Path]":
    """A file system of 32 MiB of its own."""
    directory.mkdir()
    await run("mount", "-t", "tmpfs", "-o", "size=32m", "none", directory)
    yield directory
    await run("umount", directory)


async def test_directories_on_one_disk_are_one_disk_and_one_that_is_not_there_yet_counts(tmp_path: Path) -> None:
    disks = MachineDisks(tmp_path, tmp_path / "not" / "there", tmp_path / "builds", "unix:///none.sock")
    (space,) = await disks.measure()
    assert (space.name, space.is_for_builds) == ("the state directory", False)
    assert 0 < space.free_bytes <= space.total_bytes
    assert space.total_bytes == shutil.disk_usage(tmp_path).total


async def test_a_disk_that_fills_becomes_low_and_is_well_again_when_it_is_emptied(small: Path, tmp_path: Path) -> None:
    disks, least = MachineDisks(tmp_path, small, small, "tcp://elsewhere:1"), LeastSpace(percent=10)

    async def low() -> list[str]:
        return [space.name for space in await disks.measure() if least.is_low(space)]

    assert await low() == []
    (small / "ballast").write_bytes(b"x" * (30 << 20))
    assert await low() == ["the build engine"]
    (small / "ballast").unlink()
    assert await low() == []
