"""Deployments: list them, repeat one, go back to one, end one."""

from collections.abc import Callable
from typing import Annotated

import typer

from trackside_cli import moments, output, present, scope, watch
from trackside_cli.client import Api
from trackside_cli.client.types import Deployment, ServiceInstance
from trackside_cli.commands.flags import (
    Connection,
    DeploymentId,
    Detach,
    Flags,
    Going,
    Json,
    deployment_id,
    signed_in,
    takes_flags,
    target,
)
from trackside_cli.errors import Missing

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")]
SEARCHED = 100
GOOD_ENDS = frozenset({"SUCCESS", "SLEEPING", "REMOVING", "REMOVED"})
LAST_STEP = "DRAIN_INSTANCES"


@takes_flags
def deployments(flags: Flags, limit: Limit = 20, as_json: Json = False) -> None:
    """List the deployments of a service, newest first."""
    with signed_in() as connection:
        instance = scope.instance(connection.api, flags.wanted(connection.api_url))
        found = connection.api.deployments(instance["id"], limit)
    if as_json:
        output.as_json(found)
        return
    rows = present.deployment_rows(found, moments.now())
    output.table(present.DEPLOYMENT_COLUMNS, rows, empty="Nothing has been deployed yet.")


@takes_flags
def rollback(flags: Flags, deployment: DeploymentId = None, detach: Detach = False, as_json: Json = False) -> None:
    """Go back to an earlier deployment: its image and its variables, without a build.

    Without DEPLOYMENT it is the last one that had reached SUCCESS with another version than the active one's.
    """
    with signed_in() as connection:
        chosen = _chosen(connection, flags, deployment, previous)
        made = connection.api.rollback(chosen)
        output.note(f"Going back to deployment {chosen}.", "dim")
        raise typer.Exit(watch.finish(connection.api, made, is_detached=detach, as_json=as_json))


@takes_flags
def redeploy(flags: Flags, going: Going, deployment: DeploymentId = None, as_json: Json = False) -> None:
    """Deploy the same source again; without DEPLOYMENT, that of the newest deployment."""
    with signed_in() as connection:
        chosen = _chosen(connection, flags, deployment, newest)
        made = connection.api.redeploy(chosen, is_urgent=going.urgent)
        raise typer.Exit(watch.finish(connection.api, made, is_detached=going.detach, as_json=as_json))


@takes_flags
def cancel(flags: Flags, deployment: DeploymentId = None, as_json: Json = False) -> None:
    """Cancel a deployment on its way; without DEPLOYMENT, the newest that has not ended."""
    with signed_in() as connection:
        chosen = _chosen(connection, flags, deployment, unfinished)
        ended = connection.api.cancel(chosen)
    if as_json:
        output.as_json(ended)
    else:
        output.say(f"Deployment {ended['id']} is cancelled: {ended['status']}.")


def queue(as_json: Json = False) -> None:
    """Show the build queue: what of the workspace is built or waits for it, in order, and how many there are in all.

    Workspaces take turns. Within one, urgent deployments go first, then those to `production`, then the rest.
    """
    with signed_in() as connection:
        found = connection.api.build_queue()
    if as_json:
        output.as_json(found)
        return
    rows = present.queue_rows(found["builds"], moments.now())
    output.table(present.QUEUE_COLUMNS, rows, empty="Nothing of yours is built or waits for it.")
    output.note(f"In all workspaces {found['building']} building, {found['waiting']} waiting.", "dim")


def _chosen(
    connection: Connection, flags: Flags, named: str | None, choose: Callable[[list[Deployment]], Deployment]
) -> str:
    if named and flags == Flags():
        return deployment_id(named)
    api, instance = connection.api, target(connection, flags)
    if named:
        return _of(api, instance, deployment_id(named))
    return choose(api.deployments(instance["id"], SEARCHED))["id"]


def _of(api: Api, instance: ServiceInstance, named: str) -> str:
    """The deployment that is named, where it is one of the service that is named with it."""
    if api.deployment(named)["service_instance_id"] != instance["id"]:
        raise Missing(
            f"{named} is no deployment of “{instance['service_name']}” in “{instance['environment_name']}”.",
            hint="List them with `trackside deployments`, or leave out project, environment and service.",
        )
    return named


def newest(found: list[Deployment]) -> Deployment:
    if not found:
        raise Missing(
            "Nothing has been deployed yet.", hint="Deploy with `trackside up`, or `trackside deploy --repo URL`."
        )
    return found[0]


def unfinished(found: list[Deployment]) -> Deployment:
    for one in found:
        if one["status"] not in watch.OVER | {"REMOVING"}:
            return one
    raise Missing("No deployment is on its way.", hint="`trackside down` removes the active one.")


def previous(found: list[Deployment]) -> Deployment:
    """The newest that once served another version, before the one that serves now, or has crashed."""
    serving = [index for index, one in enumerate(found) if one["status"] in ("SUCCESS", "CRASHED")]
    now = version(found, serving[0]) if serving else None
    for index in range(serving[0] + 1 if serving else 0, len(found)):
        if _could_serve(found[index]) and version(found, index) != now:
            return found[index]
    raise Missing("There is no earlier deployment to go back to.", hint="List them with `trackside deployments`.")


def version(found: list[Deployment], index: int) -> str:
    """The deployment that first brought what this one serves: a restart serves what was there, a rollback what it names."""
    one = found[index]
    if target := one["rollback_of"]:
        again = next((older for older, other in enumerate(found) if other["id"] == target), None)
        return version(found, again) if again is not None else target
    if one["trigger"] != "restart":
        return one["id"]
    before = next((older for older in range(index + 1, len(found)) if _could_serve(found[older])), None)
    return version(found, before) if before is not None else one["id"]


def _could_serve(deployment: Deployment) -> bool:
    return bool(deployment["image_id"]) and deployment["status"] in GOOD_ENDS and _has_served(deployment)


def _has_served(deployment: Deployment) -> bool:
    """Whether its last step was done: a removed deployment does not say otherwise that it had reached SUCCESS."""
    return any(step["name"] == LAST_STEP and step["completed_at"] and not step["error"] for step in deployment["steps"])


def register(app: typer.Typer) -> None:
    for command in (deployments, rollback, redeploy, cancel, queue):
        app.command()(command)
