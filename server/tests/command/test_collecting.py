"""`trackside admin collect`: what it prints, what it removes, and that a part that can't be reached keeps nobody from the rest."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from command.conftest import Host
from conftest import Platform
from trackside.adapters.logfiles.store import FileLogStore
from trackside.rooms.telemetry.model import Line, LogKind, Stream


@pytest.fixture
async def stream(platform: Platform, state_directory: Path) -> Stream:
    """A log of a deployment that is on no record, where no engine answers."""
    settings = state_directory / "settings.json"
    nowhere = {"engine_url": "unix:///none.sock", "build_engine_url": "unix:///none.sock"}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | nowhere))
    stream = Stream(platform.workspace_id, LogKind.DEPLOY, uuid4())
    await store_of(state_directory).append(stream, [Line(datetime.now(UTC), "said")])
    return stream


def store_of(home: Path) -> FileLogStore:
    return FileLogStore(home / "logs" / "apps")


async def test_a_dry_run_tells_and_removes_nothing_and_the_run_after_it_removes_what_was_told(
    state_directory: Path, host: Host, stream: Stream
) -> None:
    dry = host(state_directory, "admin", "collect", "--dry-run", "--json")
    told = json.loads(dry.stdout)
    assert (told["dry_run"], told["freed"]) == (
        True,
        [{"kind": "logs of what was deleted", "count": 1, "size_bytes": 0}],
    )
    assert await store_of(state_directory).streams(stream.workspace_id) == [stream]
    ran = host(state_directory, "admin", "collect", "--json")
    assert json.loads(ran.stdout) == told | {"dry_run": False}
    assert await store_of(state_directory).streams(stream.workspace_id) == []


def test_what_killed_processes_left_of_uploads_is_told_and_removed(state_directory: Path, host: Host) -> None:
    left = state_directory / "uploads" / uuid4().hex / f"{uuid4().hex}.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"begun")
    os.utime(left, (1, 1))
    told = {"kind": "uploads that broke off", "count": 1, "size_bytes": 5}
    dry = host(state_directory, "admin", "collect", "--dry-run", "--json")
    assert told in json.loads(dry.stdout)["freed"]
    assert left.exists()
    ran = host(state_directory, "admin", "collect", "--json")
    assert told in json.loads(ran.stdout)["freed"]
    assert not left.exists()


def test_engines_that_do_not_answer_are_told_with_the_rest_done(
    state_directory: Path, host: Host, stream: Stream
) -> None:
    ran = host(state_directory, "admin", "collect")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[0].split() == ["WHAT", "COUNT", "SIZE"]
    assert "logs of what was deleted" in ran.stdout
    assert ran.stderr.count("error: ") == 2
    assert "Unclosed" not in ran.stderr
