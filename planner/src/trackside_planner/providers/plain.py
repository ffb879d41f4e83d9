"""A tree of no known language with a Procfile: its files on a plain Debian."""

from trackside_planner.catalogue import DEFAULT_BASE
from trackside_planner.model import Draft, Environment, PlanSettings, Run, Stage
from trackside_planner.procfile import PROCFILE, read_processes
from trackside_planner.steps import APP, all_sources, base_stage
from trackside_planner.tree import Tree


def detect(tree: Tree) -> str | None:
    return PROCFILE if read_processes(tree) else None


def draft(tree: Tree, settings: PlanSettings) -> Draft:
    base = DEFAULT_BASE
    steps = [all_sources(), Run(f"cd {APP} && {settings.build_command}", uses_variables=True)]
    if not settings.build_command:
        del steps[1]
    return Draft(
        provider="plain",
        base_image=base,
        stages=(
            base_stage(base),
            Stage("app", "base", (*steps, Environment({"PATH": f"{APP}:/usr/local/bin:/usr/bin:/bin"}))),
        ),
        decisions=(),
        start_hint="the Procfile names no process.",
    )
