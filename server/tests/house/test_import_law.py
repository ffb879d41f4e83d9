"""The import law holds, and it bites: each planted violation is found."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[2]
PACKAGES = {
    "trackside": SERVER / "src" / "trackside",
    "trackside_cli": SERVER.parent / "cli" / "src" / "trackside_cli",
    "trackside_planner": SERVER.parent / "planner" / "src" / "trackside_planner",
}
LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]

# Where it is planted, the module imported there, and what the law says of it.
VIOLATIONS = {
    "a room reaches for an adapter": ("trackside/rooms/projects/service.py", "trackside.adapters.objects.folder"),
    "a low room uses a high one": ("trackside/rooms/projects/plan.py", "trackside.rooms.deployments.model"),
    "peers meet": ("trackside/rooms/builds/service.py", "trackside.rooms.networking.model"),
    "a model knows the database": ("trackside/rooms/projects/model.py", "sqlalchemy"),
    "a plan knows the database through the kit": ("trackside/rooms/access/plan.py", "trackside.kit.db"),
    "a plan uses its own store": ("trackside/rooms/identity/plan.py", "trackside.rooms.identity.store"),
    "a door passes its own service by": ("trackside/rooms/identity/rest.py", "trackside.rooms.identity.store"),
    "a room reads another one's store": (
        "trackside/rooms/deployments/service/engine.py",
        "trackside.rooms.projects.store",
    ),
    "the kit knows a room": ("trackside/kit/log.py", "trackside.rooms.access.model"),
    "an adapter knows a door": ("trackside/adapters/objects/folder.py", "trackside.entry.rest.errors"),
    "an adapter knows a service": ("trackside/adapters/git/sources.py", "trackside.rooms.builds.service"),
    "a service speaks web": ("trackside/rooms/access/service.py", "litestar"),
    "a door starts programs": ("trackside/entry/worker/nudges.py", "subprocess"),
    "a room reads settings": ("trackside/rooms/identity/service.py", "trackside.config"),
    "modules of the kit form a circle": ("trackside/kit/ids.py", "trackside.kit.jobs"),
    "the host knows a door": ("trackside/host/start.py", "trackside.entry.rest.errors"),
    "the command line knows the server": ("trackside_cli/scope.py", "trackside.rooms.projects.model"),
    "the planner knows the server": ("trackside_planner/__init__.py", "trackside.kit.errors"),
}
STRANGE_PLACES = {
    "a shelf of no known name": "trackside/rooms/projects/utils.py",
    "a room of no known place": "trackside/rooms/hotels/__init__.py",
    "a folder of no known place": "trackside/helpers/__init__.py",
}


def _lint(directory: Path) -> tuple[int, str]:
    outcome = subprocess.run(LINT, cwd=directory, capture_output=True, text=True, check=False, timeout=120)
    return outcome.returncode, outcome.stdout + outcome.stderr


def _copy_into(directory: Path) -> Path:
    """The sources and their law, to be spoilt."""
    for name, source in PACKAGES.items():
        shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".importlinter", "lint_contracts.py"):
        shutil.copy(SERVER / name, directory)
    return directory


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/__init__", "").replace("/", ".")


def test_the_import_law_is_kept() -> None:
    code, output = _lint(SERVER)
    assert code == 0, output


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the law says when every violation is planted at once, half of them late, inside a function."""
    copy = _copy_into(tmp_path_factory.mktemp("law"))
    for number, (path, imported) in enumerate(VIOLATIONS.values()):
        line = f"import {imported}" if number % 2 else f"def late() -> None:\n    import {imported}"
        (copy / path).write_text((copy / path).read_text() + f"\n\n{line}\n")
    code, output = _lint(copy)
    assert code == 1
    return " ".join(output.split())


@pytest.mark.parametrize("what", VIOLATIONS)
def test_a_planted_violation_is_found(what: str, told: str) -> None:
    path, imported = VIOLATIONS[what]
    assert _is_told(told, _module(path), imported)


def _contracts() -> list[str]:
    law = configparser.ConfigParser()
    law.read(SERVER / ".importlinter")
    return [law[section]["name"] for section in law.sections() if section.startswith("importlinter:contract:")]


@pytest.mark.parametrize("contract", _contracts())
def test_each_contract_is_broken_by_a_planted_violation(contract: str, told: str) -> None:
    assert f"{contract} BROKEN" in told


def _is_told(output: str, importer: str, imported: str) -> bool:
    return (
        f"{importer} -> {imported}" in output
        or f"{importer} reaches into {imported}" in output
        or f"{imported} -> {importer}" in output  # a circle is told from either side
    )


@pytest.mark.parametrize("what", STRANGE_PLACES)
def test_a_strange_place_is_found(what: str, tmp_path: Path) -> None:
    _copy_into(tmp_path)
    place = tmp_path / STRANGE_PLACES[what]
    place.parent.mkdir(exist_ok=True)
    place.write_text('"""Strange."""\n')
    code, output = _lint(tmp_path)
    assert code == 1
    assert _module(STRANGE_PLACES[what]).rpartition(".")[2] in output
