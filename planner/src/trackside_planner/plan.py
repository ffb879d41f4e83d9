"""From a tree to a build plan: the first provider that recognises the tree drafts it, processes and settings complete it."""

from collections.abc import Mapping
from dataclasses import dataclass

from trackside_planner.commands import process_arguments
from trackside_planner.errors import PlanError
from trackside_planner.model import BuildPlan, Decision, Draft, PlanSettings
from trackside_planner.procfile import PROCFILE, RELEASE, WEB, read_processes
from trackside_planner.provider_table import PROVIDERS, Provider
from trackside_planner.tree import Tree

_SHOWN_FILES = 8


def plan_build(tree: Tree, settings: PlanSettings | None = None) -> BuildPlan:
    """The build plan of a source tree. Raises `PlanError` with what was seen and what would help."""
    settings = settings or PlanSettings()
    _check_build_command(settings.build_command)
    provider, decision = _choose_provider(tree)
    draft = provider.draft(tree, settings)
    processes = read_processes(tree)
    start = _choose_start(draft, settings, processes)
    _check_command(start.command, start.decision)
    return BuildPlan(
        provider=draft.provider,
        base_image=draft.base_image,
        versions=draft.versions,
        stages=draft.stages,
        start_command=start.command,
        processes=dict(processes),
        pre_deploy_command=processes.get(RELEASE),
        port_expected=start.port_expected,
        reasons=(decision, *draft.decisions, start.decision),
    )


def _choose_provider(tree: Tree) -> tuple[Provider, Decision]:
    matches = [(provider, file) for provider in PROVIDERS if (file := provider.detect(tree)) is not None]
    if not matches:
        raise PlanError(_nothing_recognised(tree), hint=_WHAT_HELPS)
    (chosen, file), others = matches[0], matches[1:]
    alternatives = tuple(f"{other.name} ({seen})" for other, seen in others)
    return chosen, Decision("provider", chosen.name, chosen.rule, file, alternatives)


_WHAT_HELPS = (
    "Add a Dockerfile; or a requirements.txt or pyproject.toml (Python), a package.json (Node), an index.html (static files); "
    "or a Procfile that says how to start; or name the sub-directory that holds the app."
)


def _nothing_recognised(tree: Tree) -> str:
    files = tree.files()
    if not files:
        return "The source is empty: there is nothing to build."
    top = sorted({path.partition("/")[0] + ("/" if "/" in path else "") for path in files})
    shown = ", ".join(top[:_SHOWN_FILES]) + (f" and {len(top) - _SHOWN_FILES} more" if len(top) > _SHOWN_FILES else "")
    return f"No way to build this source was recognised; at its top are: {shown}."


@dataclass(frozen=True)
class _Start:
    command: str
    port_expected: bool
    decision: Decision


def _choose_start(draft: Draft, settings: PlanSettings, processes: Mapping[str, str]) -> _Start:
    """Settings, then the Procfile's `web`, then what the provider found, then a lone process of another type."""
    others = {name: command for name, command in processes.items() if name not in (WEB, RELEASE)}
    has_only_workers = bool(others) and WEB not in processes
    choices: list[tuple[str | None, str, str | None, bool]] = [
        (settings.start_command, "the service's start command", None, True),
        (processes.get(WEB), "Procfile process `web`", PROCFILE, True),
    ]
    choices += [(command, f"Procfile process `{name}`", PROCFILE, False) for name, command in others.items()]
    choices.append((draft.start_command, f"how {draft.provider} apps start", None, True))
    given = [choice for choice in choices if choice[0]]
    if not given:
        raise PlanError(
            f"This is a {draft.provider} app, but nothing tells how it starts: {draft.start_hint}",
            hint="Add a Procfile line `web: <command>`, or set the service's start command.",
        )
    command, rule, file, port = given[0]
    assert command is not None
    alternatives = tuple(f"{choice[0]} ({choice[1]})" for choice in given[1:])
    port = port and not (settings.start_command and has_only_workers)
    return _Start(command, port, Decision("start command", command, rule, file, alternatives))


def _check_build_command(command: str | None) -> None:
    if command is not None and ("\n" in command or "\r" in command or command.rstrip().endswith("\\")):
        raise PlanError("The build command has more than one line.", hint="Join its parts with `&&`, or call a script.")


def _check_command(command: str, decision: Decision) -> None:
    try:
        process_arguments(command)
    except ValueError as error:
        raise PlanError(
            f"The start command `{command}` can't be read: {error}.", hint=f"Mend {decision.file or 'the setting'}."
        ) from error
