"""Links: what a directory belongs to."""

from dataclasses import asdict

import typer

from trackside_cli import output, scope, session
from trackside_cli.client.types import Project, Service
from trackside_cli.commands.flags import Flags, Json, signed_in, takes_flags
from trackside_cli.errors import Ambiguous, Missing
from trackside_cli.scope import Wanted


@takes_flags
def link(flags: Flags, as_json: Json = False) -> None:
    """Link this directory to a project, so that other commands need no flags here.

    Writes `.trackside.json`, with ids and names and nothing secret, for this directory and everything below it.
    """
    with signed_in() as connection:
        # What the directory was linked to before must not decide what it is linked to now.
        wanted = Wanted(flags.project, flags.environment, flags.service, None, scope.directory_name(session.here()))
        project = scope.project(connection.api, wanted)
        environment = scope.environment(project, wanted)
        service = _service(project, wanted)
        made = session.Link(
            connection.api_url,
            project["id"],
            project["name"],
            environment["id"],
            environment["name"],
            service["id"] if service else None,
            service["name"] if service else None,
        )
    path = session.save_link(session.here(), made)
    if as_json:
        output.as_json(asdict(made))
        return
    service_text = f", service {service['name']}" if service else ""
    output.say(f"Linked {path.parent} to project {project['name']}, environment {environment['name']}{service_text}.")


def _service(project: Project, wanted: Wanted) -> Service | None:
    """The service, where one is named or only one is there: a directory may also belong to a whole project."""
    try:
        return scope.service(project, wanted)
    except (Ambiguous, Missing):
        if wanted.service:
            raise
        return None


def register(app: typer.Typer) -> None:
    app.command()(link)
