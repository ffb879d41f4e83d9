"""Variables: set, list, delete, import, export. Values go byte by byte as they are given."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from trackside_cli import differences, env_file, output, present, scope
from trackside_cli.client import Api
from trackside_cli.client.types import ServiceInstance, Variable, VariablesChanged
from trackside_cli.commands.flags import Flags, Json, Yes, ask_first, signed_in, takes_flags, target
from trackside_cli.errors import ApiError, FileError, UsageError

Assignments = Annotated[list[str], typer.Argument(metavar="K=V", help="Names and values; with --stdin one name.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="The variables to delete.")]
FromStdin = Annotated[bool, typer.Option("--stdin", help="Read the value of one variable from stdin, exactly.")]
SkipDeploy = Annotated[bool, typer.Option("--skip-deploy", help="Don't deploy; the next deployment has the change.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show the values.")]
File = Annotated[str, typer.Argument(metavar="[FILE]", help="A file of NAME=VALUE lines; `-` is stdin.")]
Replaces = Annotated[bool, typer.Option("--replace", help="Delete the variables that the file lacks.")]
NOT_CHANGED = "Nothing was changed"
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


@takes_flags
def set_variables(
    assignments: Assignments,
    flags: Flags,
    stdin: FromStdin = False,
    skip_deploy: SkipDeploy = False,
    as_json: Json = False,
) -> None:
    """Set variables, then deploy with them.

    `set K=V K2=V2`, or `set K --stdin` for values that are secret, long or of several lines: every byte counts, also
    a newline at the end.
    """
    wanted = _from_stdin(assignments) if stdin else dict(_assignment(text) for text in assignments)
    _change(
        flags, {name: _unicode(name, value) for name, value in wanted.items()}, skip_deploy=skip_deploy, as_json=as_json
    )


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"“{name}” has no value.", hint="Write NAME=VALUE, or NAME --stdin.")
    return name, value


def _from_stdin(names: list[str]) -> dict[str, str]:
    if len(names) != 1 or "=" in names[0]:
        raise UsageError(
            "With --stdin name one variable, without a value.", hint="trackside variables set NAME --stdin < FILE"
        )
    try:
        return {names[0]: sys.stdin.buffer.read().decode("utf-8")}
    except UnicodeDecodeError:
        raise _not_text(names[0]) from None


def _unicode(name: str, value: str) -> str:
    """The value, which an argument that is no UTF-8 can't be."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _not_text(name) from None
    return value


def _not_text(name: str) -> UsageError:
    return UsageError(f"The value of {name} is not UTF-8 text.", hint="Encode it, for example with base64.")


@takes_flags
def list_variables(flags: Flags, reveal: Reveal = False, as_json: Json = False) -> None:
    """List the variables of a service; their values only with --reveal."""
    with signed_in() as connection:
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
        found = connection.api.variables(instance["id"], reveal=reveal)
    if as_json:
        output.as_json(found)
    else:
        output.table(("name", "value"), present.variable_rows(found), empty="There are no variables.")


@takes_flags
def delete_variables(names: Names, flags: Flags, skip_deploy: SkipDeploy = False, as_json: Json = False) -> None:
    """Delete variables, then deploy without them."""
    _change(flags, dict.fromkeys(names), skip_deploy=skip_deploy, as_json=as_json)


def _change(flags: Flags, variables: dict[str, str | None], *, skip_deploy: bool, as_json: bool) -> None:
    with signed_in() as connection:
        instance = target(connection, flags)
        answer = connection.api.change_variables(instance["id"], variables, skip_deploy=skip_deploy)
    if as_json:
        output.as_json(answer)
    else:
        output.say(_told(answer))


def _told(answer: VariablesChanged) -> str:
    if not answer["changed"]:
        return "Nothing changed."
    deployment = answer["deployment"]
    follows = f" Deployment {deployment['id']} is on its way{present.superseding(deployment)}." if deployment else ""
    return f"Changed {', '.join(answer['changed'])}.{follows}"


# --- files ---


@dataclass(frozen=True)
class Importing:
    """How a file is imported."""

    replaces: Replaces = False
    dry_run: DryRun = False
    skip_deploy: SkipDeploy = False
    yes: Yes = False


@takes_flags
def import_variables(how: Importing, flags: Flags, file: File = ".env", as_json: Json = False) -> None:
    """Set the variables of a file, in one change, then deploy once.

    The file is read strictly, or not at all: `NAME=VALUE`, `NAME='as it is'`, `NAME="with \\n escapes"`, values over
    several lines within quotes, `# comments`, `export` before a name. `$` is a letter like any other. What would change
    is shown by name, then asked about; without a terminal --yes or --dry-run is needed.
    """
    wanted = env_file.parse(_content(file), "stdin" if file == "-" else file)
    with signed_in() as connection:
        instance = target(connection, flags)
        found = _difference(connection.api, instance, wanted, replaces=how.replaces)
        for line in found.lines():
            output.note(line)
        question = f"Change {instance['service_name']} in {instance['environment_name']} so?"
        is_wanted = not (how.dry_run or found.is_empty) and ask_first(question, is_sure=how.yes, otherwise=NOT_CHANGED)
        answer = (
            connection.api.change_variables(instance["id"], found.patch(wanted), skip_deploy=how.skip_deploy)
            if is_wanted
            else None
        )
    if as_json:
        output.as_json({"difference": asdict(found), **(answer or {"changed": [], "deployment": None})})
    else:
        output.say(_told(answer) if answer else "Nothing changed.")


def _content(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise FileError(f"{file} can't be read: {error.strerror}.", hint="Name the file, or `-` for stdin.") from error


def _difference(
    api: Api, instance: ServiceInstance, wanted: Mapping[str, str], *, replaces: bool
) -> differences.Difference:
    """What would change. Who may set but not see variables is told so, and may set, not replace."""
    try:
        present_ones = api.variables(instance["id"], reveal=True)
    except ApiError as error:
        if error.kind != "denied" or replaces:
            raise
        output.note("This token may not see what is set: everything in the file is set anew.", "yellow")
        present_ones = [Variable(name=name, value=None) for name in wanted]
    return differences.difference(present_ones, wanted, replaces=replaces)


@takes_flags
def export_variables(flags: Flags) -> None:
    """Write the variables of a service, with their values, as a file that `variables import` reads back byte for byte.

    `trackside variables export > .env`: shells and the usual libraries read it too. Keep it as the secret that it is.
    """
    with signed_in() as connection:
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
        found = connection.api.variables(instance["id"], reveal=True)
    sealed = [one["name"] for one in found if one["value"] is None]
    if sealed:
        output.note(f"Left out, for sealed values can't be shown: {', '.join(sealed)}.", "yellow")
    output.text_file(env_file.write({one["name"]: one["value"] for one in found if one["value"] is not None}))


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, help="Set, list, delete, import and export variables.", rich_markup_mode=None
    )
    group.command("set")(set_variables)
    group.command("list")(list_variables)
    group.command("delete")(delete_variables)
    group.command("import")(import_variables)
    group.command("export")(export_variables)
    app.add_typer(group, name="variables")
