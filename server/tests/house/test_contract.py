"""What clients know of the server, and the reference, are what the code says."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trackside.command import contract
from trackside.rooms.projects.model import SETTINGS

CHECKOUT = Path(__file__).parents[3]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_generator", CHECKOUT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["openapi.json", "events.json", "permissions.json"])
def test_the_contract_is_up_to_date(name: str) -> None:
    assert contract.documents()[name] == (CHECKOUT / "contract" / name).read_text(), "run `make contract`"


def test_the_reference_is_up_to_date() -> None:
    pages = _generator().pages()
    stale = [name for name, text in pages.items() if (CHECKOUT / "docs" / "reference" / name).read_text() != text]
    assert stale == [], "run `python docs/generate.py`"


def test_every_setting_says_what_it_is_for() -> None:
    silent = [name for name, _, _, text in _generator().settings_fields() if not text]
    assert silent == []


def test_every_setting_of_a_service_says_what_it_means_in_the_contract() -> None:
    parts = contract.openapi()["components"]["schemas"]["ServiceConfig"]["properties"]
    silent = [key for key in SETTINGS if not _described(parts, key.split("."))]
    assert silent == []


def _described(parts: Any, path: list[str]) -> str:
    for part in path[:-1]:
        parts = parts[part]["properties"]
    return parts[path[-1]]["description"]


def test_every_error_has_a_code_of_its_own_in_its_own_room_and_a_hint() -> None:
    errors = _generator().known_errors()
    codes = [error.code for error in errors]
    assert len(codes) == len(set(codes))
    for error in errors:
        place, owner = error.__module__.split("."), error.code.split(".")[0]
        if place[1] == "adapters":  # a port's error, made more precise
            assert owner == error.__base__.__module__.split(".")[2], error
        else:
            assert owner == place[2 if place[1] == "rooms" else 1], error
        assert error.hint, error


def test_every_operation_is_described() -> None:
    for path, item in contract.openapi()["paths"].items():
        for operation in item.values():
            assert operation["description"].endswith("."), path
            assert "503" in operation["responses"], path
