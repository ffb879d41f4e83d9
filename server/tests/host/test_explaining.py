"""The machine's commands, run by the wrong user, while the platform is down, or into a pipe that nobody reads."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from trackside.command.explaining import explained
from trackside.host.errors import RightsMissing


def _run(home: Path, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trackside", *arguments]
    environment = os.environ | {"TRACKSIDE_HOME": str(home)}
    return subprocess.run(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The state directory of a platform that is not running."""
    (tmp_path / "keys").mkdir()
    keyring = {"current": "a", "keys": {"a": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}
    (tmp_path / "keys" / "keyring.json").write_text(json.dumps(keyring))
    url = f"postgresql://nobody@/none?host={tmp_path}"
    (tmp_path / "settings.json").write_text(json.dumps({"database_url": url, "database_owner_url": url}))
    return tmp_path


@pytest.mark.parametrize("arguments", [("server", "token", "--name", "me"), ("admin", "verify"), ("admin", "replay")])
def test_a_database_that_does_not_answer_is_told_in_a_sentence(stopped: Path, arguments: tuple[str, ...]) -> None:
    ran = _run(stopped, *arguments)
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "error: The platform's PostgreSQL does not answer.",
        "hint: Start the platform: `bin/trackside server start`.",
        "code: host.part_failed",
    ]


def test_a_refused_file_is_told_with_the_command_to_run_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Namespace) -> int:
        raise PermissionError(13, "Permission denied", "/var/lib/state/settings.json")

    monkeypatch.setattr(sys, "argv", ["trackside", "server", "token", "--name", "my laptop"])
    with pytest.raises(RightsMissing, match=r"This user may not use /var/lib/state/settings\.json\.") as told:
        explained(refused)(Namespace())
    assert told.value.hint == "Run it as root: `sudo --preserve-env bin/trackside server token --name 'my laptop'`."


def test_a_reader_that_has_read_enough_is_no_error(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        ran = _run(tmp_path, "server", "status", "--json", stdout=theirs)
    finally:
        os.close(theirs)
    assert (ran.returncode, ran.stderr) == (0, "")
