"""The twin, a home of its own for every test, and two ways to run the command line: here, and as a process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Process, Ran, Run
from trackside_cli.main import run
from twin import TOKEN, Platform
from twin_server import Twin


@pytest.fixture
def twin() -> Iterator[Twin]:
    server = Twin()
    yield server
    server.stop()


@pytest.fixture
def platform(twin: Twin) -> Platform:
    return twin.platform


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any settings, in a directory without a name that matters."""
    for name in list(os.environ):
        if name.startswith("TRACKSIDE_"):
            monkeypatch.delenv(name)
    base = tmp_path_factory.mktemp("home")
    here = base / "somewhere"
    here.mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(base / "config"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(here)
    return base


@pytest.fixture
def signed_in(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKSIDE_API_URL", twin.url)
    monkeypatch.setenv("TRACKSIDE_TOKEN", TOKEN)


@pytest.fixture
def trackside(capsys: pytest.CaptureFixture[str], signed_in: None) -> Run:
    """Runs a command line in this process, signed in."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def process(signed_in: None) -> Process:
    """Runs a command line as a process of its own, with bytes in and out."""

    def call(*arguments: str | bytes, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "trackside_cli", *arguments]
        return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)

    return call


@pytest.fixture
def app(home: Path) -> Path:
    """A directory to upload."""
    directory = home / "My Shop"
    directory.mkdir()
    (directory / "main.py").write_text("print('hello')\n")
    return directory
