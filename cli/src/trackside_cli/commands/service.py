"""Services: create, list, delete."""

from dataclasses import replace
from typing import Annotated

import typer

from trackside_cli import output, present, scope
from trackside_cli.client.types import Project, Service
from trackside_cli.commands.flags import (
    Json,
    ProjectFlags,
    Yes,
    ask_first,
    signed_in,
    takes_flags,
    tell_deleted,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new service.")]
Named = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Service, by name or id; else as with --service.", show_default=False),
]
Flag = Annotated[str | None, typer.Option("--service", "-s", metavar="NAME", help="Service, by name or id.")]


@takes_flags
def create(name: Name, flags: ProjectFlags, as_json: Json = False) -> None:
    """Create a service, in every environment of the project."""
    with signed_in() as connection:
        project = scope.project(connection.api, flags.wanted(connection.api_url))
        made = connection.api.create_service(project["id"], name)
    if as_json:
        output.as_json(made)
    else:
        output.say(f"Created service {made['name']} in project {project['name']} ({made['id']}).")


@takes_flags
def list_services(flags: ProjectFlags, as_json: Json = False) -> None:
    """List a project's services."""
    with signed_in() as connection:
        project = scope.project(connection.api, flags.wanted(connection.api_url))
    if as_json:
        output.as_json(project["services"])
        return
    rows = [[one["name"], _statuses(project, one), one["id"]] for one in project["services"]]
    output.table(("name", "status", "id"), rows, empty="There is no service yet. Make one with `trackside up`.")


def _statuses(project: Project, service: Service) -> str:
    """The status in each environment."""
    return ", ".join(
        f"{environment['name']}: {present.instance_status(instance)}"
        for environment in project["environments"]
        for instance in environment["service_instances"]
        if instance["service_id"] == service["id"]
    )


@takes_flags
def delete(
    flags: ProjectFlags, name: Named = None, service: Flag = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Delete a service from every environment."""
    with signed_in() as connection:
        wanted = replace(flags.wanted(connection.api_url), service=name or service)
        project = scope.project(connection.api, wanted)
        found = scope.service(project, wanted)
        question = f"Delete service “{found['name']}” of project “{project['name']}” in every environment?"
        if ask_first(question, is_sure=yes):
            connection.api.delete_service(found["id"])
            tell_deleted(
                found,
                f"Service {found['name']} of project {project['name']} is being deleted.",
                as_json=as_json,
            )


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Create, list and delete services.", rich_markup_mode=None)
    group.command()(create)
    group.command("list")(list_services)
    group.command()(delete)
    app.add_typer(group, name="service")
