"""What a running service can be told: scale, restart, down."""

from typing import Annotated

import typer

from trackside_cli import output, present, watch
from trackside_cli.client.types import ServiceInstance
from trackside_cli.commands.flags import Flags, Json, Yes, ask_first, signed_in, takes_flags, target

Count = Annotated[
    int, typer.Argument(metavar="N", min=1, max=100, help="How many, 1 to 100; `trackside down` stops all.")
]


@takes_flags
def scale(replicas: Count, flags: Flags, as_json: Json = False) -> None:
    """Run N replicas of a service."""
    with signed_in() as connection:
        instance = target(connection, flags)
        after = connection.api.scale(instance["id"], replicas)
    name, count = after["service_name"], output.counted(replicas, "replica")
    if after["replicas"]["wanted"] == replicas:
        _answer(after, f"{name} goes to {count}; {after['replicas']['healthy']} healthy now.", as_json)
    else:
        _answer(after, f"{name} has {count} from its next deployment on; nothing of it runs now.", as_json)


@takes_flags
def restart(flags: Flags, as_json: Json = False) -> None:
    """Restart the replicas of the active deployment, without a build and without a gap.

    It is a deployment like any other: one that is under way makes way for it, and the answer says so.
    """
    with signed_in() as connection:
        instance = target(connection, flags)
        after = connection.api.restart(instance["id"])
    _answer(after, f"{after['service_name']} restarts{present.superseding(after)}.", as_json)


@takes_flags
def down(flags: Flags, yes: Yes = False, as_json: Json = False) -> None:
    """Remove the active deployment; the service and its variables stay.

    At a terminal it asks first, elsewhere it needs --yes. `trackside redeploy` brings it back.
    """
    with signed_in() as connection:
        instance = target(connection, flags)
        runs = _runs(instance)
        question = f"Stop {instance['service_name']} in {instance['environment_name']}?"
        if not ask_first(question, is_sure=yes or not runs, otherwise="Nothing was stopped"):
            return
        after = connection.api.down(instance["id"])
    name = after["service_name"]
    _answer(after, f"{name} goes down." if runs else f"Nothing of {name} runs.", as_json)


def _runs(instance: ServiceInstance) -> bool:
    """Whether there is something to stop, or on its way: where not, nobody needs to confirm."""
    latest = instance["latest_deployment"]
    return bool(instance["active_deployment"] or (latest and latest["status"] not in watch.OVER))


def _answer(instance: ServiceInstance, sentence: str, as_json: bool) -> None:
    if as_json:
        output.as_json(instance)
    else:
        output.say(sentence)


def register(app: typer.Typer) -> None:
    for command in (scale, restart, down):
        app.command()(command)
