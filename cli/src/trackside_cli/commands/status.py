"""What runs: status, open."""

import sys

import typer

from trackside_cli import moments, output, present, scope
from trackside_cli.client.types import Project, ServiceInstance
from trackside_cli.commands.flags import Flags, Json, signed_in, takes_flags
from trackside_cli.errors import Missing


@takes_flags
def status(flags: Flags, as_json: Json = False) -> None:
    """Show what runs: every service with its status, replicas and URL.

    Of the project that is named or linked, else of all. `--json` prints the project objects, whole.
    """
    with signed_in() as connection:
        wanted = flags.wanted(connection.api_url)
        projects = scope.projects(connection.api, wanted)
    if as_json:
        output.as_json(projects)
        return
    shown = [_narrowed(project, flags) for project in projects]
    output.table(
        present.STATUS_COLUMNS,
        present.status_rows(shown, moments.now()),
        empty="There is no project yet. Make one with `trackside up`, or `trackside deploy --repo URL`.",
    )
    for line in present.ailments(shown):
        output.note(output.harmless(line), "yellow")


def _narrowed(project: Project, flags: Flags) -> Project:
    """The project with only the environment and service that were named."""
    environments = [
        {**environment, "service_instances": [one for one in environment["service_instances"] if _is_meant(one, flags)]}
        for environment in project["environments"]
    ]
    return {**project, "environments": environments}  # pyright: ignore[reportReturnType]


def _is_meant(instance: ServiceInstance, flags: Flags) -> bool:
    return flags.environment in (None, instance["environment_id"], instance["environment_name"]) and flags.service in (
        None,
        instance["service_id"],
        instance["service_name"],
    )


@takes_flags
def open_url(flags: Flags, as_json: Json = False) -> None:
    """Open the app in a browser, and print its URL; without a terminal it is only printed."""
    with signed_in() as connection:
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
    url = instance["url"]
    if not url:
        raise Missing(f"The service {instance['service_name']} has no URL.", hint="Deploy it first: `trackside up`.")
    if as_json:
        output.as_json({"url": url})
        return
    output.say(url)
    if sys.stdout.isatty() and url.startswith(("http://", "https://")):
        typer.launch(url)


def register(app: typer.Typer) -> None:
    app.command()(status)
    app.command("open")(open_url)
