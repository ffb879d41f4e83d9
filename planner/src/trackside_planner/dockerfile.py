"""A build plan as a plain Dockerfile: what is built, and what `eject` writes.

It needs BuildKit, and no frontend image: no `# syntax=` line and no here-documents. Secrets are mounted under `/dev`, whose
content is never part of a layer; a mount point elsewhere would leave an empty directory behind.
"""

import json

from trackside_planner.commands import process_arguments
from trackside_planner.model import BuildPlan, Copy, Environment, Mount, MountKind, Run, Stage, Step

VARIABLES_SECRET = "trackside-variables"
VARIABLES_FILE = "/dev/trackside/variables"
VARIABLES_DIGEST = "TRACKSIDE_VARIABLES_DIGEST"
"""Build argument that changes with the service's variables, so that steps which use them run again."""

EXCLUDED = (".git", "**/node_modules", "**/.venv", "**/__pycache__", "**/.DS_Store")
"""Patterns of `.dockerignore` that hold for every planned build: what tools leave behind, never a source."""


def render_dockerfile(plan: BuildPlan) -> str:
    """The Dockerfile of a plan; the same plan gives the same text."""
    blocks = [f"# {plan.provider}, planned by Trackside ({plan.hash[:12]})"]
    blocks += [_stage(stage, stage is plan.stages[-1]) for stage in plan.stages]
    command = json.dumps(list(process_arguments(plan.start_command)), ensure_ascii=False)
    return "\n\n".join(blocks) + f"\nCMD {command}\n"


def _stage(stage: Stage, is_last: bool) -> str:
    lines = [f"# {stage.comment}"] if stage.comment else []
    lines.append(f"FROM {stage.base}" if is_last else f"FROM {stage.base} AS {stage.name}")
    is_digest_declared = False
    for step in stage.steps:
        if isinstance(step, Run) and step.uses_variables and not is_digest_declared:
            lines.append(f"ARG {VARIABLES_DIGEST}")
            is_digest_declared = True
        lines.append(_step(step))
    if is_last:
        lines += ['ENV HOME="/home/app"', "WORKDIR /app", "USER 1000:1000"]
    return "\n".join(lines)


def _step(step: Step) -> str:
    match step:
        case Run():
            return _run(step)
        case Copy():
            flags = "".join(
                [f"--from={step.stage} " if step.stage else "", "--chown=1000:1000 " if step.is_owned else ""]
            )
            return f"COPY {flags}{_paths(*step.sources, step.destination)}"
        case Environment():
            pairs = (f"{name}={_quoted(value)}" for name, value in step.variables.items())
            return "ENV " + " \\\n    ".join(pairs)


def _run(step: Run) -> str:
    mounts = list(step.mounts)
    command = step.command
    if step.uses_variables:
        mounts.append(Mount(MountKind.SECRET, VARIABLES_SECRET, VARIABLES_FILE))
        command = f"if [ -f {VARIABLES_FILE} ]; then . {VARIABLES_FILE}; fi; {command}"
    flags = "".join(f"{_mount(mount)} " for mount in mounts)
    return f"RUN {flags}{command}"


def _mount(mount: Mount) -> str:
    if mount.kind is MountKind.SECRET:
        return f"--mount=type=secret,id={mount.name},target={mount.target}"
    return f"--mount=type=cache,id={mount.name},target={mount.target},sharing=locked"


def _paths(*paths: str) -> str:
    """A JSON list of paths; a dollar sign in a name is no variable."""
    return json.dumps([path.replace("$", "\\$") for path in paths], ensure_ascii=False)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
