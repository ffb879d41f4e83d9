"""Python: Debian's interpreter, dependencies by uv in a layer of their own, the app in a virtual environment."""

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from trackside_planner.catalogue import DEFAULT_PYTHON, PYTHON_BASES, UV
from trackside_planner.errors import PlanError
from trackside_planner.model import Copy, Decision, Draft, Environment, PlanSettings, Run, Stage, Step
from trackside_planner.providers.python_start import MAIN_FILES, PythonStart, find_start
from trackside_planner.steps import (
    APP,
    TOOLS,
    all_sources,
    base_stage,
    debian_packages,
    suite_of,
    wheel_tools_stage,
    workspace_cache,
)
from trackside_planner.tree import Tree
from trackside_planner.versions import parse_version, satisfies

VENV = "/opt/venv"
_UV_CACHE = workspace_cache("uv", "/root/.cache/uv")
_SYSTEM_PACKAGES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "psycopg2": (("gcc", "python3-dev", "libc6-dev", "libpq-dev"), ("libpq5",)),
    "mysqlclient": (("gcc", "python3-dev", "libc6-dev", "libmariadb-dev", "pkg-config"), ("libmariadb3",)),
    "uwsgi": (("gcc", "python3-dev", "libc6-dev"), ()),
    "pdf2image": ((), ("poppler-utils",)),
    "pydub": ((), ("ffmpeg",)),
}
"""Packages that need something of the system: to be compiled, and to run."""


@dataclass(frozen=True)
class _Dependencies:
    """How dependencies are installed: files they are read from, the command before the source is there, and after."""

    manager: str
    file: str | None
    manifests: tuple[str, ...]
    install: str | None
    install_project: str | None
    packages: frozenset[str]
    alternatives: tuple[str, ...] = ()
    uses_variables: bool = False


def detect(tree: Tree) -> str | None:
    if tree.text("requirements.txt") is not None:
        return "requirements.txt"
    if _is_app_pyproject(tree):
        return "pyproject.toml"
    return next(
        (name for name in ("Pipfile.lock", "Pipfile", "setup.py", *MAIN_FILES) if tree.text(name) is not None), None
    )


def draft(tree: Tree, settings: PlanSettings) -> Draft:
    version, version_decision = _choose_version(tree)
    base = PYTHON_BASES[version]
    dependencies = _read_dependencies(tree)
    start = find_start(tree, dependencies.packages)
    added = start.added if start and not settings.start_command else None
    build_packages, run_packages = _system_packages(dependencies.packages)
    python_base = base_stage(base, ("python3", *run_packages))
    installed = _install_stage(dependencies, build_packages, added, settings, suite_of(base))
    final = Stage("app", "base", _final_steps())
    return Draft(
        provider="python",
        base_image=base,
        versions={"python": version, "uv": UV},
        stages=(wheel_tools_stage("uv", base, f"uv=={UV}"), python_base, installed, final),
        decisions=(version_decision, *_decisions(dependencies, start, added)),
        start_command=start.command if start else None,
        start_hint="no app object, no known framework and no main file was found.",
    )


def _install_stage(
    dependencies: _Dependencies, system: tuple[str, ...], added: str | None, settings: PlanSettings, suite: str
) -> Stage:
    environment = {
        "VIRTUAL_ENV": VENV,
        "UV_LINK_MODE": "copy",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_COMPILE_BYTECODE": "1",
        "PATH": f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    steps: list[Step] = [debian_packages(suite, system)] if system else []
    steps += [
        Copy((f"{TOOLS}/bin/uv",), "/usr/local/bin/uv", stage="uv"),
        Environment(environment),
        Run(f"uv venv --quiet --python /usr/bin/python3 {VENV}"),
    ]
    for path in dependencies.manifests:
        steps.append(Copy((path,), f"{APP}/{path}"))
    if dependencies.install:
        steps.append(
            Run(f"cd {APP} && {dependencies.install}", (_UV_CACHE,), uses_variables=dependencies.uses_variables)
        )
    if added:
        steps.append(Run(f"uv pip install {shlex.quote(added)}", (_UV_CACHE,)))
    steps.append(all_sources())
    if dependencies.install_project:
        steps.append(Run(f"cd {APP} && {dependencies.install_project}", (_UV_CACHE,)))
    if settings.build_command:
        steps.append(Run(f"cd {APP} && {settings.build_command}", (_UV_CACHE,), uses_variables=True))
    return Stage(
        "build", "base", tuple(steps), "Dependencies first, so that a change of the source does not install them again"
    )


def _final_steps() -> tuple[Step, ...]:
    environment = {
        "PATH": f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "VIRTUAL_ENV": VENV,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONPATH": f"{APP}:{APP}/src",
    }
    return (
        Copy((VENV,), VENV, stage="build"),
        Copy((APP,), APP, stage="build", is_owned=True),
        Environment(environment),
    )


def _decisions(dependencies: _Dependencies, start: PythonStart | None, added: str | None) -> tuple[Decision, ...]:
    found = [
        Decision(
            "dependencies",
            dependencies.manager,
            "what the tree locks or lists",
            dependencies.file,
            dependencies.alternatives,
        )
    ]
    if start:
        found.append(Decision("app", start.command, start.rule, start.file, start.alternatives))
    if added:
        found.append(Decision("server", added, "the app brings no server of its own, so a known one is added"))
    return tuple(found)


def _choose_version(tree: Tree) -> tuple[str, Decision]:
    wanted, file = _wanted_version(tree)
    if wanted is None:
        return DEFAULT_PYTHON, Decision("python", DEFAULT_PYTHON, "nothing asks for another version")
    for version in PYTHON_BASES:
        # A patch release can't be chosen: whoever asks for 3.11.4 gets the 3.11 there is.
        relaxed = re.sub(r"(?<![\d.])(?:==)?(\d+\.\d+)\.\d+(?![\d.*])", r"\1", wanted) if "," not in wanted else wanted
        if satisfies((*parse_version(version), 99), relaxed):
            return version, Decision("python", version, f"the first version on offer that meets `{wanted}`", file)
    offered = ", ".join(PYTHON_BASES)
    raise PlanError(
        f"{file} asks for Python {wanted}, which is not on offer; there are {offered}.",
        hint=f"Relax the version in {file}, or add a Dockerfile.",
    )


def _wanted_version(tree: Tree) -> tuple[str | None, str | None]:
    for name in (".python-version", "runtime.txt"):
        if (text := tree.text(name)) and (match := re.search(r"\d+\.\d+(?:\.\d+)?", text)):
            return match[0], name
    requires = _table(_pyproject(tree).get("project")).get("requires-python")
    return (requires, "pyproject.toml") if isinstance(requires, str) else (None, None)


def _pyproject(tree: Tree) -> dict[str, Any]:
    text = tree.text("pyproject.toml")
    if text is None:
        return {}
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"pyproject.toml can't be read: {error}.", hint="Mend the file and deploy again.") from error


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _is_app_pyproject(tree: Tree) -> bool:
    """A pyproject.toml that only configures tools (a linter beside a Node app) is no Python app."""
    content = _pyproject(tree)
    return "project" in content or "build-system" in content or "poetry" in _table(content.get("tool"))


def _read_dependencies(tree: Tree) -> _Dependencies:
    files = ("requirements.txt", "uv.lock", "pyproject.toml", "Pipfile.lock", "setup.py")
    present = [name for name in files if tree.text(name) is not None]
    if "uv.lock" in present and _is_app_pyproject(tree):
        return _from_uv_lock(tree, tuple(name for name in present if name not in ("uv.lock", "pyproject.toml")))
    if "requirements.txt" in present:
        return _from_requirements(tree, tuple(present[1:]))
    if _is_app_pyproject(tree):
        return _from_pyproject(tree)
    if "Pipfile.lock" in present:
        return _from_pipfile_lock(tree)
    if "setup.py" in present:
        return _Dependencies("uv pip", "setup.py", (), None, "uv pip install .", frozenset())
    return _Dependencies("none", None, (), None, None, frozenset())


def _from_uv_lock(tree: Tree, alternatives: tuple[str, ...]) -> _Dependencies:
    lock = tomllib.loads(tree.text("uv.lock") or "")
    names = frozenset(_normalise(str(package.get("name", ""))) for package in lock.get("package", []))
    # By way of a requirements list, because `uv sync` fetches from the addresses in the lock file, not from a mirror.
    export = "uv export --quiet --frozen --no-dev --no-emit-workspace --output-file /tmp/requirements.txt"
    install = f"{export} && uv pip install --requirements /tmp/requirements.txt && rm /tmp/requirements.txt"
    project = "uv pip install --no-deps ." if "build-system" in _pyproject(tree) else None
    return _Dependencies("uv", "uv.lock", ("pyproject.toml", "uv.lock"), install, project, names, alternatives)


def _from_requirements(tree: Tree, alternatives: tuple[str, ...]) -> _Dependencies:
    text = tree.text("requirements.txt") or ""
    names = frozenset(name for line in text.splitlines() for name in _requirement_names(line))
    install = "uv pip install -r requirements.txt"
    if re.search(r"^\s*(-e\b|--editable\b|\.|file:|\S+\s*@\s*file:)", text, re.MULTILINE):
        # It installs files of the source itself, so the source has to be there first.
        return _Dependencies("uv pip", "requirements.txt", (), None, install, names, alternatives)
    manifests = [path for path in tree.files() if re.search(r"(^|/)(requirements|constraints)[^/]*\.(txt|in)$", path)]
    manifests += [path for path in tree.files() if re.search(r"(^|/)requirements/[^/]+\.(txt|in)$", path)]
    uses_variables = "${" in text
    return _Dependencies(
        "uv pip", "requirements.txt", tuple(sorted(set(manifests))), install, None, names, alternatives, uses_variables
    )


def _from_pyproject(tree: Tree) -> _Dependencies:
    content = _pyproject(tree)
    listed = _table(content.get("project")).get("dependencies", [])
    names = frozenset(name for line in listed for name in _requirement_names(str(line)))
    is_package = "build-system" in content
    if "project" not in content:
        return _Dependencies("uv pip", "pyproject.toml", (), None, "uv pip install .", names)
    project = "uv pip install --no-deps ." if is_package else None
    return _Dependencies(
        "uv pip", "pyproject.toml", ("pyproject.toml",), "uv pip install -r pyproject.toml", project, names
    )


def _from_pipfile_lock(tree: Tree) -> _Dependencies:
    """Pipfile.lock read by ourselves: pinned, with hashes, and no further package manager in the image."""
    lock = _table(json.loads(tree.text("Pipfile.lock") or "{}"))
    lines: list[str] = []
    for name, entry in sorted(_table(lock.get("default")).items()):
        package = _table(entry)
        if "version" not in package:
            raise PlanError(
                f"Pipfile.lock takes `{name}` from somewhere else than a package index, which is not supported."
            )
        markers = f" ; {package['markers']}" if package.get("markers") else ""
        hashes = "".join(f" --hash={value}" for value in package.get("hashes", []))
        lines.append(f"{name}{package['version']}{markers}{hashes}")
    names = frozenset(_normalise(name) for name in _table(lock.get("default")))
    quoted = " ".join(shlex.quote(line) for line in lines)
    install = f"printf '%s\\n' {quoted} > /tmp/requirements.txt && uv pip install -r /tmp/requirements.txt && rm /tmp/requirements.txt"
    return _Dependencies("uv pip", "Pipfile.lock", (), install, None, names, ("Pipfile",))


def _requirement_names(line: str) -> tuple[str, ...]:
    """`FastAPI[standard]>=0.1` → `fastapi` and `fastapi[standard]`."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?", line)
    if match is None:
        return ()
    name = _normalise(match[1])
    extras = (f"{name}[{extra.strip()}]" for extra in (match[2] or "[]")[1:-1].split(",") if extra.strip())
    return (name, *extras)


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _system_packages(packages: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    needed = [needs for name, needs in _SYSTEM_PACKAGES.items() if name in packages]
    to_build = sorted({name for build, _ in needed for name in build})
    to_run = sorted({name for _, run in needed for name in run})
    return tuple(to_build), tuple(to_run)
