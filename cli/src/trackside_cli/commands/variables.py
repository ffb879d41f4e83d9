"""Variables: set, list, delete. Values go byte by byte as they are given."""

import sys
from typing import Annotated

import typer

from trackside_cli import output, present, scope
from trackside_cli.client.types import VariablesChanged
from trackside_cli.commands.flags import Flags, Json, signed_in, takes_flags
from trackside_cli.errors import UsageError

Assignments = Annotated[list[str], typer.Argument(metavar="K=V", help="Names and values; with --stdin one name.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="The variables to delete.")]
FromStdin = Annotated[bool, typer.Option("--stdin", help="Read the value of one variable from stdin, exactly.")]
SkipDeploy = Annotated[bool, typer.Option("--skip-deploy", help="Don't deploy; the next deployment has the change.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show the values.")]


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
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
        answer = connection.api.change_variables(instance["id"], variables, skip_deploy=skip_deploy)
    if as_json:
        output.as_json(answer)
    else:
        output.say(_told(answer))


def _told(answer: VariablesChanged) -> str:
    if not answer["changed"]:
        return "Nothing changed."
    deployment = answer["deployment"]
    follows = f" Deployment {deployment['id']} is on its way." if deployment else ""
    return f"Changed {', '.join(answer['changed'])}.{follows}"


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Set, list and delete variables.", rich_markup_mode=None)
    group.command("set")(set_variables)
    group.command("list")(list_variables)
    group.command("delete")(delete_variables)
    app.add_typer(group, name="variables")
