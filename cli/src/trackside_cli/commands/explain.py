"""`explain`: why something is as it is."""

import typer

from trackside_cli import output, present, scope
from trackside_cli.client import Api, LogQuery
from trackside_cli.client.types import Explanation, LogLine
from trackside_cli.commands.deployments import newest
from trackside_cli.commands.flags import DeploymentId, Flags, Json, deployment_id, signed_in, takes_flags
from trackside_cli.errors import CommandError

LAST_LINES = 10


@takes_flags
def deployment(flags: Flags, deployment: DeploymentId = None, as_json: Json = False) -> None:
    """Explain a deployment: what happened when, how long each step took, why it ended so, what it waits for.

    Without DEPLOYMENT it is the newest of the service. All of it is read from the events; of one that failed or
    crashed its last log lines are added.
    """
    with signed_in() as connection:
        api = connection.api
        chosen = deployment_id(deployment) if deployment else _newest(api, flags, connection.api_url)
        found = api.explanation(chosen)
        last = [] if as_json else _last_words(api, found)
    if as_json:
        output.as_json(found)
        return
    for line, style in present.explanation_lines(found, is_short=output.is_terminal()):
        output.say(output.paint(output.harmless(line), style))
    if last:
        output.say()
        output.say("Its last words:")
        for line in last:
            output.say(f"  {output.harmless(present.line_message(line))}")


def _newest(api: Api, flags: Flags, api_url: str) -> str:
    instance = scope.instance(api, flags.wanted(api_url))
    return newest(api.deployments(instance["id"], 1))["id"]


def _last_words(api: Api, found: Explanation) -> list[LogLine]:
    """What the app, or the build that it never got beyond, said last; nothing of what goes well."""
    if found["status"] not in ("FAILED", "CRASHED"):
        return []
    has_run = any(one["phase"] in ("PRE_DEPLOY_COMMAND", "CREATE_CONTAINER") for one in found["happened"])
    try:
        kind = "deploy" if has_run else "build"
        return api.logs(found["deployment_id"], LogQuery(kind=kind, limit=LAST_LINES, newest=True))
    except CommandError:
        return []  # what is explained matters more than the lines


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Explain why something is as it is.", rich_markup_mode=None)

    @group.callback()
    def explain() -> None:
        """Explain why something is as it is."""

    group.command()(deployment)
    app.add_typer(group, name="explain")
