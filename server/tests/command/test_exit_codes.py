"""The machine's commands end with 1 where something is wrong, and those that only look make nothing."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from command.conftest import Host
from conftest import Platform
from trackside.host.layout import REGISTER


def records_of(home: Path) -> list[Path]:
    """What the machine's register of installations says of a state directory."""
    return [file for file in REGISTER.glob("*/installation.json") if json.loads(file.read_text())["home"] == str(home)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("server", "status"), 1),
        (("server", "status", "--json"), 1),
        (("server", "doctor"), 1),
        (("server", "doctor", "--json"), 1),
        (("server", "stop"), 0),
        (("server", "stop", "--json"), 0),
        (("server", "token", "list"), 1),
        (("admin", "verify"), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_looking_at_a_machine_without_a_platform_makes_nothing(
    tmp_path: Path, host: Host, arguments: tuple[str, ...], code: int
) -> None:
    home = tmp_path / "state"
    ran = host(home, *arguments)
    assert ran.returncode == code, ran.stderr
    assert not home.exists()
    assert records_of(home) == []
    if arguments[-1] == "--json":
        json.loads(ran.stdout)


def test_a_command_that_needs_a_platform_says_where_it_looked(tmp_path: Path, host: Host) -> None:
    ran = host(tmp_path / "state", "server", "token", "list")
    assert ran.stderr.splitlines()[0] == f"error: There is no platform in {tmp_path / 'state'}."
    assert "bin/trackside server start" in ran.stderr


def test_status_as_json_names_the_places_although_nothing_runs(tmp_path: Path, host: Host) -> None:
    found = json.loads(host(tmp_path / "state", "server", "status", "--json").stdout)
    assert found["processes"] == []
    assert found["data_dir"] == str(tmp_path / "state")


def test_doctor_finds_that_nothing_runs(tmp_path: Path, host: Host) -> None:
    findings = {found["check"]: found for found in json.loads(host(tmp_path, "server", "doctor", "--json").stdout)}
    assert findings["processes"]["health"] == "failed"
    assert findings["disk"]["health"] != "failed"
    assert all(found["mend"] for found in findings.values() if found["health"] == "failed")


async def test_replay_ends_with_1_where_a_table_was_different_and_with_0_once_it_is_right(
    platform: Platform, state_directory: Path, host: Host
) -> None:
    assert host(state_directory, "admin", "replay").returncode == 0
    async with platform.owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE platform.workspaces SET created_at = now() + interval '1 day'"))
    ran = host(state_directory, "admin", "replay")
    assert ran.returncode == 1
    assert "was different: platform.workspaces" in ran.stdout
    assert host(state_directory, "admin", "replay").returncode == 0


async def test_verify_ends_with_1_where_an_event_was_changed(
    platform: Platform, state_directory: Path, host: Host
) -> None:
    assert host(state_directory, "admin", "verify").returncode == 0
    async with platform.owner.transaction() as tx:
        await tx.connection.execute(text("ALTER TABLE platform.events DISABLE TRIGGER append_only"))
        await tx.connection.execute(text("UPDATE platform.events SET type = 'TokenRevoked'"))
    ran = host(state_directory, "admin", "verify")
    assert ran.returncode == 1
    assert "broken: stream platform at event 1" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("server", "status", "--jsn"), "error: `trackside`: unrecognized arguments: --jsn."),
        (("server", "begin"), "error: `server`: argument COMMAND: invalid choice: 'begin'"),
        (("admin", "clear"), "error: `admin clear`: the following arguments are required: "),
    ],
)
def test_a_command_that_cannot_be_read_is_an_error_like_any_other(
    tmp_path: Path, host: Host, arguments: tuple[str, ...], sentence: str
) -> None:
    ran = host(tmp_path / "state", *arguments)
    said = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert said[0].startswith(sentence)
    assert said[1].startswith("hint: `bin/trackside ")
    assert said[1].endswith("--help` says what it takes.")
    assert said[2] == "code: command.usage"
