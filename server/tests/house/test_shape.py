"""The house keeps its shape: sizes, shelves, suites, and what must never be written."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackside.config import Settings

CHECKOUT = Path(__file__).parents[3]
SOURCES = ("server/src", "planner/src", "cli/src", "bin", "docs")
ROOMS = CHECKOUT / "server/src/trackside/rooms"
FILE_LINES, FUNCTION_LINES = 400, 40

# What exceeds its budget today. Nothing may be added; what is split is taken off.
LARGE_FILES = {
    "bin/setup.py",
}
LONG_FUNCTIONS = {"server/src/trackside/host/firewall_rules.py: ruleset"}
SHELVES = {"model", "errors", "events", "ports", "plan", "store", "converge", "service", "rest", "live", "tasks"}

# Ports whose behaviour is shown elsewhere than by a suite in `contracts`, and where.
SHOWN_ELSEWHERE = {
    "Disks": "host/test_disks.py",
    "Logs": "rooms/deployments",  # joined by bootstrap over LogStore and Turns, which have suites
    "Prober": "edge/test_prober.py",
    "Resolver": "edge/test_resolver.py",
    "Uploads": "rest/test_uploads.py",
}
REGISTRIES = re.compile(
    r"\b(?:docker\.io/|index\.docker\.io|registry-1\.|ghcr\.io|quay\.io|gcr\.io|mcr\.microsoft\.com|public\.ecr\.aws|registry\.k8s\.io)"
)


def _files(*roots: str) -> Iterator[Path]:
    for root in roots:
        yield from sorted(
            path for path in (CHECKOUT / root).rglob("*.py") if "/." not in str(path.relative_to(CHECKOUT))
        )


def _name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_are_small() -> None:
    large = {_name(path) for path in _files(*SOURCES) if len(path.read_text().splitlines()) > FILE_LINES}
    assert large <= LARGE_FILES
    assert large == LARGE_FILES, "take off the list what is small now"


def test_functions_are_small() -> None:
    long = {
        f"{_name(path)}: {function.name}"
        for path in _files(*SOURCES)
        if "/migrations/" not in _name(path)
        for function in _functions(path)
        if (function.end_lineno or 0) - function.lineno >= FUNCTION_LINES
    }
    assert long == LONG_FUNCTIONS


@pytest.mark.parametrize("room", sorted(path.name for path in ROOMS.iterdir() if (path / "__init__.py").exists()))
def test_a_room_has_only_known_shelves_and_says_what_it_is(room: str) -> None:
    shelves = {path.stem for path in (ROOMS / room).iterdir() if not path.name.startswith("__")}
    assert shelves <= SHELVES
    assert {"model", "service", "errors"} - shelves == set()
    assert len(ast.get_docstring(ast.parse((ROOMS / room / "__init__.py").read_text())) or "") > 80


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        _name(path)
        for path in _files("server/src", "planner/src", "cli/src", "bin", "docs", "server/tests")
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
        if "/tests/" not in _name(path)
    ]
    assert silent == []


def _ports() -> Iterator[str]:
    for path in sorted(ROOMS.glob("*/ports.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
                yield node.name


@pytest.mark.parametrize("port", sorted(_ports()))
def test_every_port_has_a_suite(port: str) -> None:
    tests = CHECKOUT / "server/tests"
    suite = "contracts/" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", port).lower() + ".py"
    assert (tests / SHOWN_ELSEWHERE.get(port, suite)).exists(), f"{port}: {suite}"


def _runs() -> dict[str, set[str]]:
    """Suite → the tests' classes that run it."""
    found: dict[str, set[str]] = {}
    for path in _files("server/tests"):
        for node in ast.parse(path.read_text()).body:
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                found.setdefault(ast.unparse(base), set()).add(node.name)
    return found


@pytest.mark.parametrize("port", sorted(set(_ports()) - set(SHOWN_ELSEWHERE)))
def test_every_suite_runs_on_memory_and_on_something_real(port: str) -> None:
    runs = _runs().get(f"{port}Contract", set())
    assert f"TestMemory{port}" in runs
    assert runs - {f"TestMemory{port}"}, port


def _error_classes() -> dict[str, str]:
    """Every error with a code of its own → where it is declared."""
    found: dict[str, str] = {}
    for path in _files("server/src"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and any("code" in _assigned(part) for part in node.body):
                found[node.name] = _name(path)
    return found


def _assigned(node: ast.stmt) -> set[str]:
    return {ast.unparse(target) for target in node.targets} if isinstance(node, ast.Assign) else set()


def test_every_error_is_raised_somewhere() -> None:
    """By its own name, or by that of a more precise one."""
    made = {
        ast.unparse(node.func).rpartition(".")[2]
        if isinstance(node, ast.Call)
        else ast.unparse(node).rpartition(".")[2]
        for path in _files("server/src")
        for raised in ast.walk(ast.parse(path.read_text()))
        for node in _made_errors(raised)
    }
    assert len(_error_classes()) > 30
    assert {name: place for name, place in _error_classes().items() if name not in made} == {}


def _made_errors(node: ast.AST) -> Iterator[ast.expr]:
    """What is raised, and what is made to be raised or returned elsewhere."""
    if isinstance(node, ast.Raise) and node.exc is not None:
        yield node.exc
    elif isinstance(node, ast.Call):
        yield node
    elif isinstance(node, ast.ClassDef):
        yield from node.bases


def test_every_setting_is_read() -> None:
    read = {
        node.attr
        for path in _files("server/src")
        if path.name != "config.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    assert set(Settings.model_fields) - read == set()


def test_every_event_is_recorded_somewhere() -> None:
    made = {
        ast.unparse(node.func).rpartition(".")[2]
        for path in _files("server/src")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    events = {
        node.name
        for path in ROOMS.glob("*/events.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert len(events) > 25
    assert events - made == set()


def test_no_registry_is_named_in_code() -> None:
    named = [
        f"{_name(path)}:{number}"
        for path in _files(*SOURCES)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if REGISTRIES.search(line) and 'removeprefix("docker.io/")' not in line  # reads what others wrote
    ]
    assert named == []


def test_no_shell_is_ever_started() -> None:
    found = [
        f"{_name(path)}:{node.lineno}"
        for path in _files(*SOURCES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _starts_a_shell(node)
    ]
    assert found == []


def _starts_a_shell(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    is_shell = any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in call.keywords)
    return is_shell or name in ("os.system", "os.popen", "asyncio.create_subprocess_shell", "subprocess.getoutput")


def test_decisions_have_one_number_each_and_five_headings() -> None:
    records = sorted((CHECKOUT / "docs/decisions").glob("[0-9]*.md"))
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for path in records:
        headings = [line[3:].strip().lower() for line in path.read_text().splitlines() if line.startswith("## ")]
        assert set(headings) == {"context", "decision", "alternatives", "consequences", "status"}, path.name


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]
    broken = [
        f"{_name(page)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
