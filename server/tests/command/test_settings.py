"""Where a setting comes from."""

import json
from pathlib import Path

import pytest

from trackside.config import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory as a start leaves it."""
    monkeypatch.setenv("TRACKSIDE_HOME", str(tmp_path))
    (tmp_path / "settings.json").write_text(
        json.dumps({"engine_url": "unix:///run/ours/engine.sock", "api_port": 7001})
    )
    return tmp_path


def test_the_environment_comes_before_what_the_start_wrote(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().api_port == 7001
    monkeypatch.setenv("TRACKSIDE_API_PORT", "7002")
    assert Settings().api_port == 7002


def test_the_engine_is_the_one_that_the_start_chose_whatever_is_wished(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`embedded` is an address for nobody but the start."""
    monkeypatch.setenv("TRACKSIDE_ENGINE_URL", "embedded")
    assert Settings().engine_url == "unix:///run/ours/engine.sock"
