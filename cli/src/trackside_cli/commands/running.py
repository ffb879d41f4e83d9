"""What a running service can be told: scale, restart, down."""

from typing import Annotated

import typer

from trackside_cli import output, scope
from trackside_cli.client.types import ServiceInstance
from trackside_cli.commands.flags import Flags, Json, Yes, signed_in, takes_flags

Count = Annotated[int, typer.Argument(metavar="N", min=0, help="How many replicas.")]


@takes_flags
def scale(replicas: Count, flags: Flags, as_json: Json = False) -> None:
    """Run N replicas of a service."""
    with signed_in() as connection:
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
        after = connection.api.scale(instance["id"], replicas)
    count = after["replicas"]
    _answer(
        after,
        f"{after['service_name']} goes to {count['wanted']} replicas; {count['healthy']} are healthy now.",
        as_json,
    )


@takes_flags
def restart(flags: Flags, as_json: Json = False) -> None:
    """Restart the replicas of the active deployment, without a build and without a gap."""
    with signed_in() as connection:
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
        after = connection.api.restart(instance["id"])
    _answer(after, f"{after['service_name']} restarts.", as_json)


@takes_flags
def down(flags: Flags, yes: Yes = False, as_json: Json = False) -> None:
    """Remove the active deployment; the service and its variables stay.

    At a terminal it asks first. `trackside redeploy` brings it back.
    """
    with signed_in() as connection:
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
        question = f"Stop {instance['service_name']} in {instance['environment_name']}?"
        if not yes and output.confirmed(question) is False:
            output.note("Nothing was stopped.")
            return
        after = connection.api.down(instance["id"])
    _answer(after, f"{after['service_name']} goes down.", as_json)


def _answer(instance: ServiceInstance, sentence: str, as_json: bool) -> None:
    if as_json:
        output.as_json(instance)
    else:
        output.say(sentence)


def register(app: typer.Typer) -> None:
    for command in (scale, restart, down):
        app.command()(command)
