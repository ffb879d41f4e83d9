"""Environments: create, list, delete."""

from typing import Annotated

import typer

from trackside_cli import output, scope
from trackside_cli.commands.flags import (
    Json,
    ProjectFlags,
    Yes,
    ask_first,
    signed_in,
    takes_flags,
    tell_deleted,
)
from trackside_cli.scope import Wanted

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new environment.")]
Named = Annotated[str | None, typer.Argument(metavar="NAME", help="Environment, by name or id.", show_default=False)]
Flag = Annotated[str | None, typer.Option("--environment", "-e", metavar="NAME", help="Environment, by name or id.")]


@takes_flags
def create(name: Name, flags: ProjectFlags, as_json: Json = False) -> None:
    """Create an environment: every service of the project again, with variables and a private network of its own."""
    with signed_in() as connection:
        project = scope.project(connection.api, flags.wanted(connection.api_url))
        made = connection.api.create_environment(project["id"], name)
    if as_json:
        output.as_json(made)
    else:
        output.say(f"Created environment {made['name']} in project {project['name']} ({made['id']}).")


@takes_flags
def list_environments(flags: ProjectFlags, as_json: Json = False) -> None:
    """List a project's environments."""
    with signed_in() as connection:
        project = scope.project(connection.api, flags.wanted(connection.api_url))
    if as_json:
        output.as_json(project["environments"])
        return
    rows = [[one["name"], str(len(one["service_instances"])), one["id"]] for one in project["environments"]]
    output.table(("name", "services", "id"), rows, empty="There is no environment.")


@takes_flags
def delete(
    flags: ProjectFlags, name: Named = None, environment: Flag = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Delete an environment with everything that runs in it. It must be named: no default is assumed."""
    named = name or environment
    if named is None:
        raise typer.BadParameter("name the environment to delete", param_hint="NAME")
    with signed_in() as connection:
        wanted = flags.wanted(connection.api_url)
        project = scope.project(connection.api, wanted)
        found = scope.environment(project, Wanted(environment=named))
        question = f"Delete environment “{found['name']}” of project “{project['name']}” with everything in it?"
        if ask_first(question, is_sure=yes):
            connection.api.delete_environment(found["id"])
            tell_deleted(
                found,
                f"Environment {found['name']} of project {project['name']} is being deleted.",
                as_json=as_json,
            )


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Create, list and delete environments.", rich_markup_mode=None)
    group.command()(create)
    group.command("list")(list_environments)
    group.command()(delete)
    app.add_typer(group, name="environment")
