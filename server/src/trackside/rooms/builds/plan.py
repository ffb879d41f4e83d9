"""From what people said and what the source shows to what is built: their Dockerfile, else one that the planner writes. Pure."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from trackside.rooms.builds.errors import PlanFailed
from trackside.rooms.builds.model import BuildSettings
from trackside_planner import (
    VARIABLES_DIGEST,
    Decision,
    PlanError,
    PlanSettings,
    Tree,
    plan_build,
    read_processes,
    render_dockerfile,
)

DOCKERFILE = "Dockerfile"
IGNORE = ".dockerignore"
"""What docker appends to a Dockerfile's path to find what that very build leaves out."""
_SYNTAX = re.compile(r"\A(?:[ \t]*#[ \t]*\w+[ \t]*=[^\n]*\n)*?[ \t]*#[ \t]*syntax[ \t]*=[ \t]*(\S+)", re.IGNORECASE)
"""The parser directive that names a frontend; directives come before anything else, comments included."""


@dataclass(frozen=True)
class PlannedBuild:
    """What is built, and what the source says of how it runs.

    `port_expected` is False for an app that listens nowhere (a Procfile with a worker only). `hash` is the plan's, None for a
    Dockerfile. `ignore` is what is left out of the build in place of what the tree's `.dockerignore` says.
    """

    dockerfile: str
    is_planned: bool
    port_expected: bool
    pre_deploy_command: str | None
    processes: Mapping[str, str] = field(default_factory=dict[str, str])
    reasons: tuple[Decision, ...] = ()
    hash: str | None = None
    ignore: str | None = None


def plan(settings: BuildSettings, tree: Tree) -> PlannedBuild:
    """Decide. Raises `PlanFailed` with what was seen and what helps."""
    path = settings.dockerfile_path or DOCKERFILE
    must_be_dockerfile = settings.builder == "DOCKERFILE" or settings.dockerfile_path is not None
    text = None if settings.builder == "RAILPACK" and settings.dockerfile_path is None else _dockerfile(tree, path)
    if text is not None:
        return _from_dockerfile(tree, path, text)
    if must_be_dockerfile:
        raise PlanFailed(
            f"There is no Dockerfile at `{path}` in the source.", hint="Correct the path, or set the builder to AUTO."
        )
    return _from_planner(settings, tree)


def variable_names(planned: PlannedBuild) -> frozenset[str]:
    """The variables a build reads: what a Dockerfile declares with ARG or mounts as secret; `*` is all of them."""
    if planned.is_planned:
        return frozenset({"*"} if VARIABLES_DIGEST in planned.dockerfile else ())
    declared = re.findall(r"^\s*ARG\s+([A-Za-z_][A-Za-z0-9_]*)", planned.dockerfile, re.MULTILINE | re.IGNORECASE)
    mounted = re.findall(r"--mount=\S*\bid=([A-Za-z_]\w*)", planned.dockerfile)
    return frozenset(declared) | frozenset(mounted)


def _dockerfile(tree: Tree, path: str) -> str | None:
    normal = _normal(path)
    if normal.startswith(".."):
        raise PlanFailed(
            f"The Dockerfile path `{path}` leads out of the source.", hint="Give a path within the source."
        )
    return tree.text(normal)


def _normal(path: str) -> str:
    return posixpath.normpath(path.lstrip("/"))


def _from_dockerfile(tree: Tree, path: str, text: str) -> PlannedBuild:
    if not text.strip():
        raise PlanFailed(
            f"The Dockerfile at `{path}` is empty.", hint="Write it, or remove it to let the source be recognised."
        )
    processes, ignore = read_processes(tree), tree.text(_normal(path) + IGNORE)
    return PlannedBuild(
        dockerfile=text,
        is_planned=False,
        port_expected=True,
        pre_deploy_command=processes.get("release"),
        processes=dict(processes),
        reasons=(
            Decision("builder", "Dockerfile", "a Dockerfile goes before everything else", path),
            *_frontend(text, path),
            *_own_ignore(path, ignore),
        ),
        ignore=ignore,
    )


def _own_ignore(path: str, ignore: str | None) -> tuple[Decision, ...]:
    """That the Dockerfile has a file of its own for what is left out, where it has one; as with docker, it is the only one then."""
    if ignore is None:
        return ()
    return (Decision("left out", f"what {path}{IGNORE} says", f"docker's rule that it goes before {IGNORE}"),)


def _frontend(text: str, path: str) -> tuple[Decision, ...]:
    """That the frontend which a Dockerfile asks for is not fetched, where it asks for one."""
    asked = _SYNTAX.match(text)
    if asked is None:
        return ()
    rule = "the platform's rule to fetch no frontend image"
    return (Decision("syntax", "the build engine's own", rule, path, (asked[1],)),)


def _from_planner(settings: BuildSettings, tree: Tree) -> PlannedBuild:
    try:
        build = plan_build(tree, PlanSettings(settings.build_command, settings.start_command))
    except PlanError as error:
        raise PlanFailed(error.sentence, hint=error.hint or None) from error
    return PlannedBuild(
        dockerfile=render_dockerfile(build),
        is_planned=True,
        port_expected=build.port_expected,
        pre_deploy_command=build.pre_deploy_command,
        processes=build.processes,
        reasons=build.reasons,
        hash=build.hash,
    )
