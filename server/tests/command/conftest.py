"""A state directory whose database is a test's own, and the machine's commands as a process."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Platform, Server

Host = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def state_directory(postgres_server: Server, platform: Platform, tmp_path: Path) -> Path:
    """What the commands read of a started platform: its settings and its keys."""
    home = tmp_path / "state"
    (home / "keys").mkdir(parents=True)
    shutil.copy(postgres_server.keys / "keyring.json", home / "keys")
    urls = {"database_url": platform.database.url, "database_owner_url": platform.owner_url}
    (home / "settings.json").write_text(json.dumps(urls))
    return home


@pytest.fixture
def host() -> Host:
    """Runs `python -m trackside …` for a state directory."""

    def call(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKSIDE_")}
        return subprocess.run(
            [sys.executable, "-m", "trackside", *arguments],
            env=environment | {"TRACKSIDE_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


def answer(ran: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON document that a command printed."""
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
