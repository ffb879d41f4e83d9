"""Why a deployment is as it is: read from its events and the build queue, decided by the plan."""

from uuid import UUID

import msgspec

from trackside.kit import events as stream
from trackside.kit.db import Transaction
from trackside.kit.ids import parse_id
from trackside.rooms.access.model import Actor
from trackside.rooms.deployments import service
from trackside.rooms.deployments.converge import queueing
from trackside.rooms.deployments.model import Explanation, Fact
from trackside.rooms.deployments.plan.explaining import Circumstances, explain

NAMING = ("by", "rollback_of")
"""Fields of events that name another deployment."""


async def explain_deployment(tx: Transaction, actor: Actor, deployment_id: UUID) -> Explanation:
    """What happened to a deployment, and why it is as it is. Errors: `DeploymentMissing`."""
    found = await service.read_deployment(tx, actor, deployment_id)
    history = [_fact(recorded) for recorded in await service.history(tx, actor, deployment_id)]
    named = {str(fact.data[field]) for fact in history for field in NAMING if fact.data.get(field)}
    others = {text: request for text in sorted(named) if (request := await _request_of(tx, parse_id(text)))}
    place = (await queueing.places_of(tx, [found])).get(deployment_id)
    return explain(history, Circumstances(tx.clock.now(), others, place.place if place else None))


async def _request_of(tx: Transaction, deployment_id: UUID | None) -> Fact | None:
    """The first event of a deployment, also of one that is forgotten."""
    if deployment_id is None:
        return None
    history = [recorded async for recorded in stream.read(tx, "workspace", subjects=[deployment_id])]
    return _fact(history[0]) if history else None


def _fact(recorded: stream.Recorded) -> Fact:
    return Fact(recorded.type, recorded.at, recorded.actor.get("name", ""), msgspec.to_builtins(recorded.event))
