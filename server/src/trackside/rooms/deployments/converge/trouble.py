"""What a pass could not do, and what becomes of it in the records.

What this deployment can never have ends it with the reason, unless it serves already; what is only away is said of it, for as
long as it is away. An event is written when that begins, when it changes and when it ends, not at every look.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.db import Transaction
from trackside.kit.errors import Kind, TracksideError
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments.converge.writing import fail
from trackside.rooms.deployments.model import PREPARING, Deployment, Status, StepName
from trackside.rooms.deployments.model.planning import Action, RestartReplica, StartReplica

FINAL = frozenset({Kind.INVALID, Kind.LIMIT})
"""Trying again would not help."""
WAITING = PREPARING | {Status.DEPLOYING, Status.SUCCESS}
"""Where a deployment has a reason, it waits for what the reason names."""
NEWS = timedelta(seconds=30)
"""How long one reason stands before another replaces it: messages that name what was tried differ at every try."""


class Trouble:
    """The actions of a pass that failed, each with its error."""

    def __init__(self) -> None:
        self._errors: dict[Action, TracksideError] = {}
        self._ended: set[UUID] = set()

    def add(self, actions: Sequence[Action], error: TracksideError) -> None:
        self._errors |= dict.fromkeys(actions, error)

    def has(self, action: Action) -> bool:
        return action in self._errors

    def of(self, deployment_id: UUID) -> list[tuple[Action, TracksideError]]:
        """What failed of a deployment, what is final first."""
        found = [(a, e) for a, e in self._errors.items() if getattr(a, "deployment_id", None) == deployment_id]
        return sorted(found, key=lambda pair: pair[1].kind not in FINAL)

    @property
    def is_waiting(self) -> bool:
        """Whether some of it is to be tried again."""
        return any(getattr(action, "deployment_id", None) not in self._ended for action in self._errors)

    @property
    def sentence(self) -> str:
        """For the log."""
        return next((error.sentence for error in self._errors.values()), "")

    async def tell(self, tx: Transaction, deployment: Deployment) -> None:
        """Write down what failed of this deployment."""
        found = self.of(deployment.id)
        if not found:
            return
        error = found[0][1]
        as_written = (
            await store.deployment(tx, deployment.id) or deployment
        )  # this pass may have begun a step, or ended it
        if error.kind in FINAL and may_fail(deployment):
            self._ended.add(deployment.id)
            await fail(tx, as_written, error.sentence, error.hint, error.code)
            return
        await hold_up(tx, as_written, error)
        for action, each in found:
            if each.kind in FINAL and isinstance(action, StartReplica | RestartReplica):  # for its back-off
                await stream.record(tx, events.ReplicaRestarted(action.replica_id, deployment.id, each.sentence))


def may_fail(deployment: Deployment) -> bool:
    """Whether it is on its way and has not been given the traffic."""
    return deployment.status is Status.DEPLOYING and deployment.step(StepName.CONFIGURE_NETWORK) is None


async def hold_up(tx: Transaction, deployment: Deployment, error: TracksideError) -> None:
    """Say what a deployment waits for, where that is news."""
    if deployment.status not in WAITING or deployment.reason == error.sentence:
        return
    if deployment.reason is not None and tx.clock.now() < deployment.updated_at + NEWS:
        return
    await stream.record(tx, events.DeploymentHeldUp(deployment.id, error.sentence, error.hint, error.code))


async def resume(tx: Transaction, deployment_id: UUID) -> None:
    """Say that what it waited for is there; one that ended in this very pass keeps the reason of its end."""
    as_written = await store.deployment(tx, deployment_id)
    if as_written and as_written.status in WAITING and as_written.reason is not None:
        await stream.record(tx, events.DeploymentResumed(deployment_id))
