"""Ends deployments before or after they serve, in the records; converging clears away what they left in the world."""

from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.db import Transaction
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments.model import ACTIVE, UNFINISHED, Deployment, Status, StepName
from trackside.rooms.networking import service as networking


async def supersede(tx: Transaction, instance_id: UUID, reason: str, by: UUID | None = None) -> tuple[UUID, ...]:
    """End every deployment of the instance that is under way and has not taken the traffic; which those were.

    `by`: the deployment that they make way for.
    """
    ended: list[UUID] = []
    for deployment in await store.unsettled(tx, instance_id):
        if deployment.status in UNFINISHED and not await has_taken_over(tx, deployment):
            await end(tx, deployment, reason, by)
            ended.append(deployment.id)
    return tuple(ended)


async def has_taken_over(tx: Transaction, deployment: Deployment) -> bool:
    """Whether a deployment under way has the traffic already, or, where nothing listens, was found well: the old one leaves."""
    network = deployment.step(StepName.CONFIGURE_NETWORK)
    if network is not None and network.is_skipped:
        return True
    route = await networking.route_of(tx, deployment.service_instance_id)
    return route is not None and route[1] == deployment.id


async def end(tx: Transaction, deployment: Deployment, reason: str, by: UUID | None = None) -> None:
    """Close the record of a deployment that will not serve."""
    await end_steps(tx, deployment, reason)
    await stream.record(tx, events.DeploymentRemoved(deployment.id, deployment.service_instance_id, reason, by))


async def end_steps(tx: Transaction, deployment: Deployment, reason: str) -> None:
    """Close the steps that are open, with the reason."""
    for step in deployment.steps:
        if step.completed_at is None:
            await stream.record(tx, events.StepEnded(deployment.id, str(step.name), reason, False))


async def remove_all(tx: Transaction, instance_id: UUID, reason: str) -> None:
    """Send everything of a service instance away."""
    await supersede(tx, instance_id, reason)
    for deployment in await store.unsettled(tx, instance_id):
        if deployment.status in ACTIVE or deployment.status is Status.DEPLOYING:
            await send_away(tx, deployment, reason)


async def send_away(tx: Transaction, deployment: Deployment, reason: str, by: UUID | None = None) -> None:
    """Have a deployment that serves, or is about to, drain and go; steps that it had not ended are over."""
    await end_steps(tx, deployment, reason)
    await stream.record(tx, events.DeploymentRemoving(deployment.id, deployment.service_instance_id, reason, by))
