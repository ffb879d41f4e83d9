"""Logs: of the app, of its build, of its requests."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Annotated

import typer

from trackside_cli import follow, moments, output, present, scope
from trackside_cli.client import Api, LogQuery
from trackside_cli.client.types import Deployment, LogLine
from trackside_cli.commands.deployments import SEARCHED
from trackside_cli.commands.flags import DeploymentId, Flags, Json, deployment_id, signed_in, takes_flags
from trackside_cli.errors import Missing, UsageError
from trackside_cli.log_lines import ReplicaNames, in_time_order
from trackside_cli.patience import Patience

DEFAULT_LINES = 1000


@dataclass(frozen=True)
class Choice:
    """Which lines."""

    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come.")] = False
    build: Annotated[bool, typer.Option("--build", help="The build's log.")] = False
    http: Annotated[bool, typer.Option("--http", help="The requests the edge served.")] = False
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="From 10m, 2h, 1d ago or a time on.", show_default=False),
    ] = None
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            min=1,
            max=10_000,
            metavar="N",
            help="The newest N; else 1000, with --since all.",
            show_default=False,
        ),
    ] = None

    @property
    def kind(self) -> str:
        if self.build and self.http:
            raise UsageError("Choose one log.", hint="Leave out --build or --http.")
        return "build" if self.build else "http" if self.http else "deploy"

    def query(self) -> LogQuery:
        since = moments.parse_since(self.since, moments.now()) if self.since else None
        return LogQuery(kind=self.kind, since=since)


@takes_flags
def logs(flags: Flags, choice: Choice, deployment: DeploymentId = None, as_json: Json = False) -> None:
    """Show a deployment's logs: what the app writes, its build (--build), or its requests (--http).

    Without DEPLOYMENT it is the newest; while that is still being built, the active one (with --build, the newest).
    Lines of several replicas are in the order of their times, each after the replica's number, or the end of its id
    where it is gone. What is followed comes as it is stored; with the next deployment it goes on, unless one is named.
    """
    query = choice.query()
    with signed_in() as connection:
        api = connection.api
        if deployment:
            of: Deployment | None = api.deployment(deployment_id(deployment))
        else:
            of = _default(api, connection.api_url, flags, query.kind)
        while of:
            if not as_json:
                output.note(_heading(of, query.kind), "dim")
            names, last = ReplicaNames(of), query.after or 0
            for line in _lines(api, of["id"], query, choice):
                _print(line, names, as_json=as_json)
                last = max(last, line["seq"])
            if choice.http and last:  # requests are in one log, whatever the deployment
                query = replace(query, after=last)
            goes_on = choice.follow and not choice.build and not deployment
            of, choice = _next(api, of) if goes_on else None, replace(choice, lines=None)


def _heading(of: Deployment, kind: str) -> str:
    """Requests are the service's, whichever deployment answered them."""
    return "Requests to the service" if kind == "http" else f"Deployment {of['id']}, {of['status']}"


def _next(api: Api, ended: Deployment) -> Deployment | None:
    """The deployment that came in the place of one that is over; None where nothing did."""
    newer = takewhile(lambda one: one["id"] != ended["id"], api.deployments(ended["service_instance_id"], SEARCHED))
    return next((one for one in newer if one["status"] not in follow.GONE | follow.BEFORE_RUNNING), None)


def _default(api: Api, api_url: str, flags: Flags, kind: str) -> Deployment:
    instance = scope.instance(api, flags.wanted(api_url))
    latest, active = instance["latest_deployment"], instance["active_deployment"]
    if kind != "build" and active and latest and latest["status"] in follow.BEFORE_RUNNING:
        return active
    if found := latest or active:
        return found
    raise Missing(f"The service {instance['service_name']} has no deployment.", hint="Deploy it first: `trackside up`.")


def _lines(api: Api, of: str, query: LogQuery, choice: Choice) -> Iterator[LogLine]:
    patience = Patience(output.note)
    if query.after is not None:
        yield from follow.follow(api, of, query, patience)
        return
    # Where following begins if nothing is shown before: asked first, so that no line falls between.
    newest = api.logs(of, LogQuery(kind=query.kind, limit=1, newest=True)) if choice.follow else []
    last = newest[-1]["seq"] if newest else None
    for line in _standing(api, of, query, choice.lines):
        last = max(line["seq"], last or 0)
        yield line
    if choice.follow:
        yield from follow.follow(api, of, replace(query, after=last), patience)


def _standing(api: Api, of: str, query: LogQuery, most: int | None) -> Iterator[LogLine]:
    """The lines that are there: the newest `most`, or everything since a time."""
    if query.since and most is None:
        yield from in_time_order(follow.pages(api, of, query, Patience(output.note, limit=0)))
        return
    most = most or DEFAULT_LINES
    found = api.logs(of, replace(query, limit=most, newest=True))
    if len(found) == most == DEFAULT_LINES:
        output.note(f"Older lines are left out: these are the newest {most}. --lines N shows more.", "dim")
    yield from in_time_order(found)


def _print(line: LogLine, names: ReplicaNames, *, as_json: bool) -> None:
    if as_json:
        output.as_json_line(line)
        return
    time = present.short_time(line["at"], is_short=output.is_terminal())
    name, message = names.of(line), present.line_message(line)
    output.log_line(time, f"[{name}] {message}" if name else message, present.line_style(line))


def register(app: typer.Typer) -> None:
    app.command()(logs)
