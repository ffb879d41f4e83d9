"""Projects: create, list, delete."""

from typing import Annotated

import typer

from trackside_cli import moments, output, scope
from trackside_cli.commands.flags import (
    Json,
    ProjectFlags,
    Yes,
    ask_first,
    signed_in,
    takes_flags,
    tell_deleted,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new project.")]
Named = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Project, by name or id; else as with --project.", show_default=False),
]


def create(name: Name, as_json: Json = False) -> None:
    """Create a project, with the environment `production`."""
    with signed_in() as connection:
        made = connection.api.create_project(name)
    if as_json:
        output.as_json(made)
    else:
        output.say(f"Created project {made['name']} ({made['id']}).")


def list_projects(as_json: Json = False) -> None:
    """List the projects."""
    with signed_in() as connection:
        projects = connection.api.projects()
    if as_json:
        output.as_json(projects)
        return
    now = moments.now()
    rows = [
        [
            one["name"],
            ", ".join(environment["name"] for environment in one["environments"]),
            ", ".join(service["name"] for service in one["services"]),
            moments.age(one["created_at"], now),
            one["id"],
        ]
        for one in projects
    ]
    output.table(("name", "environments", "services", "created", "id"), rows, empty="There is no project yet.")


@takes_flags
def delete(flags: ProjectFlags, name: Named = None, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a project with everything in it."""
    with signed_in() as connection:
        wanted = ProjectFlags(name or flags.project).wanted(connection.api_url)
        found = scope.project(connection.api, wanted)
        question = f"Delete project “{found['name']}” with {output.counted(len(found['services']), 'service')} and everything in it?"
        if ask_first(question, is_sure=yes):
            connection.api.delete_project(found["id"])
            tell_deleted(found, f"Project {found['name']} is being deleted.", as_json=as_json)


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Create, list and delete projects.", rich_markup_mode=None)
    group.command()(create)
    group.command("list")(list_projects)
    group.command()(delete)
    app.add_typer(group, name="project")
