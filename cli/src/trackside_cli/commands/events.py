"""`events`: what happened in the workspace, and who did it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from trackside_cli import follow, moments, output, present, scope
from trackside_cli.client import Api, EventQuery
from trackside_cli.client.types import Event
from trackside_cli.commands.flags import Flags, Json, signed_in, takes_flags
from trackside_cli.patience import Patience

DEFAULT_EVENTS = 100


@dataclass(frozen=True)
class Choice:
    """Which events."""

    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new events come.")] = False
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="From 10m, 2h, 1d ago or a time on.", show_default=False),
    ] = None
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only of this type; may be repeated.", show_default=False),
    ] = None
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            min=1,
            max=1000,
            metavar="N",
            help="The newest N; else 100, with --since all.",
            show_default=False,
        ),
    ] = None


@takes_flags
def events(flags: Flags, choice: Choice, as_json: Json = False) -> None:
    """Show what happened in the workspace: when, what, and who did it.

    All of it, or what is about the project, environment or service that is named. In a linked directory it is the
    linked project. With --json one object per line; `seq` is its number in the workspace.
    """
    with signed_in() as connection:
        query = _query(connection.api, flags, connection.api_url, choice)
        for event in _events(connection.api, query, choice):
            if as_json:
                output.as_json_line(event)
            else:
                time = present.short_time(event["at"], is_short=output.is_terminal())
                output.log_line(time, present.event_text(event), present.event_style(event))


def _query(api: Api, flags: Flags, api_url: str, choice: Choice) -> EventQuery:
    since = moments.parse_since(choice.since, moments.now()) if choice.since else None
    query = EventQuery(since=since, types=tuple(choice.types or ()))
    wanted = flags.wanted(api_url)
    if flags == Flags() and wanted.link is None:
        return query
    project = scope.project(api, wanted)
    environment = scope.environment(project, wanted)["id"] if flags.environment else None
    service = scope.service(project, wanted)["id"] if flags.service else None
    return replace(query, project_id=project["id"], environment_id=environment, service_id=service)


def _events(api: Api, query: EventQuery, choice: Choice) -> Iterator[Event]:
    """Those that are there, then those that come."""
    patience = Patience(output.note)
    if query.since and choice.lines is None:
        cursor = yield from follow.event_pages(api, query, patience)
    else:
        most = choice.lines or DEFAULT_EVENTS
        page = api.events(replace(query, limit=most, newest=True))
        if len(page["events"]) == most == DEFAULT_EVENTS:
            output.note(f"Older events are left out: these are the newest {most}. --lines N shows more.", "dim")
        yield from page["events"]
        cursor = page["cursor"]
    if choice.follow:
        yield from follow.events(api, replace(query, after=cursor), patience)


def register(app: typer.Typer) -> None:
    app.command()(events)
