"""Turns keep the port's contract in memory and as files; files also outlive what held them."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.turns import TurnsContract
from trackside.adapters.logfiles.turns import FileTurns
from trackside.adapters.memory.logs import MemoryTurns
from trackside.rooms.telemetry.errors import LogsUnavailable


class TestMemoryTurns(TurnsContract):
    @pytest.fixture
    def turns(self) -> MemoryTurns:
        return MemoryTurns()


class TestFileTurns(TurnsContract):
    @pytest.fixture
    def turns(self, tmp_path: Path) -> FileTurns:
        return FileTurns(tmp_path / "turns")


async def test_marks_stand_over_processes_and_files_long_unused_go(tmp_path: Path) -> None:
    old, young = uuid4(), uuid4()
    async with FileTurns(tmp_path).take(old) as mark, FileTurns(tmp_path).take(young):
        pass
    async with FileTurns(tmp_path).again(old, mark) as stands:
        assert stands
    os.utime(tmp_path / str(old), (1, 1))
    await FileTurns(tmp_path).keep_only(set())
    assert [path.name for path in tmp_path.iterdir()] == [str(young)]
    async with FileTurns(tmp_path).again(old, mark) as stands:
        assert not stands


async def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    replica_id = uuid4()
    (tmp_path / str(replica_id)).symlink_to("/dev/full")
    with pytest.raises(LogsUnavailable, match="No space left"):
        async with FileTurns(tmp_path).take(replica_id):
            pass
