"""Deployments: list them, repeat one, go back to one, end one."""

from collections.abc import Callable
from typing import Annotated

import typer

from trackside_cli import moments, output, present, scope, watch
from trackside_cli.client import Api
from trackside_cli.client.types import Deployment
from trackside_cli.commands.flags import DeploymentId, Detach, Flags, Json, deployment_id, signed_in, takes_flags
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

    Without DEPLOYMENT it is the last one before the active one that had reached SUCCESS.
    """
    with signed_in() as connection:
        chosen = _chosen(connection.api, connection.api_url, flags, deployment, previous)
        made = connection.api.rollback(chosen)
        raise typer.Exit(watch.finish(connection.api, made, is_detached=detach, as_json=as_json))


@takes_flags
def redeploy(flags: Flags, deployment: DeploymentId = None, detach: Detach = False, as_json: Json = False) -> None:
    """Deploy the same source again; without DEPLOYMENT, that of the newest deployment."""
    with signed_in() as connection:
        chosen = _chosen(connection.api, connection.api_url, flags, deployment, newest)
        made = connection.api.redeploy(chosen)
        raise typer.Exit(watch.finish(connection.api, made, is_detached=detach, as_json=as_json))


@takes_flags
def cancel(flags: Flags, deployment: DeploymentId = None, as_json: Json = False) -> None:
    """Cancel a deployment on its way; without DEPLOYMENT, the newest that has not ended."""
    with signed_in() as connection:
        chosen = _chosen(connection.api, connection.api_url, flags, deployment, unfinished)
        ended = connection.api.cancel(chosen)
    if as_json:
        output.as_json(ended)
    else:
        output.say(f"Deployment {ended['id']} is cancelled: {ended['status']}.")


def _chosen(
    api: Api, api_url: str, flags: Flags, named: str | None, choose: Callable[[list[Deployment]], Deployment]
) -> str:
    if named:
        return deployment_id(named)
    instance = scope.instance(api, flags.wanted(api_url))
    return choose(api.deployments(instance["id"], SEARCHED))["id"]


def newest(found: list[Deployment]) -> Deployment:
    if not found:
        raise Missing(
            "Nothing has been deployed yet.", hint="Deploy with `trackside up`, or `trackside deploy --repo URL`."
        )
    return found[0]


def unfinished(found: list[Deployment]) -> Deployment:
    for one in found:
        if one["status"] not in watch.OVER:
            return one
    raise Missing("No deployment is on its way.", hint="`trackside down` removes the active one.")


def previous(found: list[Deployment]) -> Deployment:
    """The newest that once served, before the one that serves now."""
    serving = [index for index, one in enumerate(found) if one["status"] == "SUCCESS"]
    earlier = found[serving[0] + 1 :] if serving else found
    for one in earlier:
        if one["image_id"] and one["status"] in GOOD_ENDS and _has_served(one):
            return one
    raise Missing("There is no earlier deployment to go back to.", hint="List them with `trackside deployments`.")


def _has_served(deployment: Deployment) -> bool:
    """Whether its last step was done: a removed deployment does not say otherwise that it had reached SUCCESS."""
    return any(step["name"] == LAST_STEP and step["completed_at"] and not step["error"] for step in deployment["steps"])


def register(app: typer.Typer) -> None:
    for command in (deployments, rollback, redeploy, cancel):
        app.command()(command)
