"""The reference page of the command line, from the commands themselves: `python -m trackside_cli.docs > cli.md`."""

from collections.abc import Iterator
from typing import Any

import typer.main

from trackside_cli import output
from trackside_cli.errors import MEANINGS
from trackside_cli.main import app

INTRODUCTION = """# Command line

Written from the commands by `python -m trackside_cli.docs`; don't edit.

Answers go to stdout, everything said along the way to stderr. With `--json` an answer is one JSON document with the
objects of the REST API (`logs --json`: one object per line; `up`, `deploy`, `rollback`, `redeploy`: one line
`{deployment_id, status, reason, url}`). Colours appear on a terminal only, and not with `NO_COLOR`.

## Which platform, and as whom

| what | taken from, in this order |
|---|---|
| address of the API | `TRACKSIDE_API_URL`; this machine's platform (`$TRACKSIDE_HOME/cli.json`); the last login |
| token | `TRACKSIDE_TOKEN`; the one that `trackside login` saved for this address |

## Which project, environment and service

| what | taken from, in this order |
|---|---|
| project | `--project`; the link (`.trackside.json` here or above); the only one; the one named like this directory |
| environment | `--environment`; the link; `production` |
| service | `--service`; the link; the only one; the one named like this directory |

`up` differs: without `--project` and link it is the project named like the directory it uploads, made where it is
missing. A link holds only for the API address it was made with.

## What `up` leaves out

`.git`, `.trackside`, `.trackside.json`, and what `.gitignore` names, as git reads it: in every directory, from the root
of the repository down, with negations. A `.tracksideignore` beside a `.gitignore` has the last word, so `!dist/` in it
uploads a directory that git ignores.
"""


HOST_COMMANDS = """The commands of the platform's own machine end with 0, 1, or 2 for a command line that is not valid:

| command | ends with 1 where |
|---|---|
| `server start` | something could not be started |
| `server stop` | something of the platform is left behind; 0 also where nothing had been started |
| `server status` | nothing runs, or a process is not in the state `RUNNING`; with `--json` too |
| `server doctor` | a check has failed; a warning alone is 0 |
| `server token create`, `list`, `revoke` | the database does not answer, or there is no such token |
| `admin migrate` | a schema could not be brought up to date |
| `admin replay` | a table was different from what the events say (it is right afterwards) |
| `admin verify` | an event was changed, removed or inserted |
| `admin collect` | a part could not be looked at; the rest was collected |
| `admin clear` | something of the dead platform could not be removed |

With `--json` each `server` command prints one JSON document on stdout, also where it ends with 1 because of what it
found: `start` that of `status` and `was_running`; `stop` `{was_started, containers, processes, remaining}`; `token
create` `{id, name, prefix, token}`.
`admin collect` has it too: `{dry_run, freed, size_bytes, troubles}`. What could not be done at all is an error on stderr, and
stdout is empty. `status`
and `doctor` only look: on a machine without a platform they make nothing.
"""


def page() -> str:
    """The whole page, as Markdown."""
    command = typer.main.get_command(app)
    parts = [INTRODUCTION, _exit_codes(), "## Commands", *_sections(command, "trackside", None)]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _exit_codes() -> str:
    rows = "\n".join(f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items())
    return f"## Exit codes\n\n| code | meaning |\n|---|---|\n{rows}\n\n{HOST_COMMANDS}"


def _sections(command: Any, name: str, parent: Any) -> Iterator[str]:
    """A section for each command that does something, depth first."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    below = getattr(command, "commands", {})
    for one in below:
        yield from _sections(below[one], one, context)
    if not below:
        yield f"### `{context.command_path}`\n\n```text\n{help_of(command, context)}\n```"


def help_of(command: Any, context: Any) -> str:
    """The help text at a width that does not depend on the terminal."""
    formatter = context.make_formatter()
    formatter.width = 100
    command.format_help(context, formatter)
    return formatter.getvalue().rstrip()


if __name__ == "__main__":
    output.say(page().rstrip())
