"""The build queue, worked off: a slot takes the next build, holds a lease on it while it lasts, and gives it up.

Deployments that wait are the queue; there is no other list. Whoever chooses holds a lease on the choice, so that no two choose
at once; a build that has begun and that nobody holds was its builder's who died, and is taken up before anything new.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg

from trackside.kit import events as stream
from trackside.kit.apart import apart
from trackside.kit.db import Database, Transaction
from trackside.kit.errors import Kind, TracksideError
from trackside.kit.leases import Leases, open_leases
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments.model import PREPARING, Deployment, Place, Status
from trackside.rooms.deployments.plan.queue import Entry, Line, next_turn, places, priority_of, taking_over
from trackside.rooms.deployments.store import builds
from trackside.rooms.projects.model import ServiceInstance

CHOICE = "build-queue"
"""The lease of whoever chooses what is built next."""
PASSED_OVER = 10
"""So many of a workspace's builds are passed over in one choice; then it is the workspace that can't be read, not a record."""


class QueueUnavailable(TracksideError):
    code = "deployments.queue_unavailable"
    kind = Kind.UNAVAILABLE
    hint = "Look at `trackside server status`; the platform tries again by itself."


@dataclass(frozen=True)
class Claim:
    """A build that a slot has taken."""

    workspace_id: UUID
    deployment_id: UUID

    @property
    def lease(self) -> str:
        """What its slot holds meanwhile."""
        return f"build:{self.deployment_id}"


class BuildQueue:
    """Gives builds to slots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, leases: Leases, is_resting: Callable[[UUID], bool]) -> Claim | None:
        """The next build, its lease held and its deployment BUILDING; None where there is none for now.

        `is_resting`: deployments that this builder has just failed to build for a fault of the world, and leaves for a while.
        """
        await leases.take(CHOICE)
        try:
            return await self._choose(leases, is_resting)
        finally:
            with suppress(psycopg.Error):  # a lost connection has given it up
                await leases.give_up(CHOICE)

    async def under_way(self) -> frozenset[UUID]:
        """What is being built, of all workspaces."""
        async with self._database.transaction() as tx:
            return frozenset(deployment_id for _, deployment_id in await builds.begun(tx))

    @asynccontextmanager
    async def still(self) -> AsyncGenerator[frozenset[UUID]]:
        """What is being built, of all workspaces; nothing else is begun within the block. Errors: `QueueUnavailable`."""
        try:
            async with open_leases(self._database.url) as leases:
                await leases.take(CHOICE)
                yield await self.under_way()
        except psycopg.Error as error:
            raise QueueUnavailable("The build queue can't be held: the database does not answer.") from error

    async def _choose(self, leases: Leases, is_resting: Callable[[UUID], bool]) -> Claim | None:
        async with self._database.transaction() as tx:
            left = [Claim(*one) for one in await builds.begun(tx)]
        for claim in left:
            if not is_resting(claim.deployment_id) and await self._take(leases, claim):
                return claim
        passed_over: dict[UUID, set[UUID]] = {}
        while claim := await self._first_waiting(passed_over):
            if await self._take(leases, claim):
                return claim
            passed_over.setdefault(claim.workspace_id, set()).add(claim.deployment_id)
        return None

    async def _first_waiting(self, passed_over: Mapping[UUID, Collection[UUID]]) -> Claim | None:
        """The first build, of those not passed over, of the workspace whose turn is next."""
        async with self._database.transaction() as tx:
            lines = [one for one in await builds.lines(tx) if len(passed_over.get(one.workspace_id, ())) < PASSED_OVER]
            while workspace_id := next_turn(lines):
                for entry in await builds.entries(tx, workspace_id):
                    if not entry.began_at and entry.deployment_id not in passed_over.get(workspace_id, ()):
                        return Claim(workspace_id, entry.deployment_id)
                lines = [line for line in lines if line.workspace_id != workspace_id]
        return None

    async def _take(self, leases: Leases, claim: Claim) -> bool:
        """Hold its lease and begin it; False where another has it, where it is no longer to be built, or can't be read."""
        if not await leases.try_take(claim.lease):
            return False
        with apart("the build queue", claim.workspace_id, deployment=str(claim.deployment_id)):
            if await self._begin(claim):
                return True
        await leases.give_up(claim.lease)
        return False

    async def _begin(self, claim: Claim) -> bool:
        """Write down that it is built; False where it is no longer to be."""
        async with self._database.transaction(claim.workspace_id) as tx:
            await stream.lock(tx)
            found = await store.deployment(tx, claim.deployment_id)
            if found is None or found.status not in PREPARING:
                return False
            if found.status is not Status.BUILDING:
                await stream.record(tx, events.DeploymentProgressed(found.id, str(Status.BUILDING)))
            return True


async def place_of(tx: Transaction, instance: ServiceInstance, deployment_id: UUID, *, is_urgent: bool) -> Entry:
    """What a new deployment of a service instance comes into the queue as."""
    priority = priority_of(instance.environment_name, is_urgent=is_urgent)
    entry = Entry(deployment_id, instance.id, priority, tx.clock.now())
    return taking_over(entry, await builds.waiting_of(tx, instance.id))


async def places_of(tx: Transaction, deployments: Iterable[Deployment]) -> dict[UUID, Place]:
    """The places of those of the bound workspace's deployments that wait for a slot; nothing is looked up where none can."""
    waiting = [one.id for one in deployments if one.status is Status.QUEUED and one.source.get("kind") != "image"]
    if not waiting:
        return {}
    lines, turns = await builds.lines(tx), await builds.turns(tx, waiting)
    found = _places(tx, lines, turns.values())
    return {deployment_id: found[turn] for deployment_id, turn in turns.items() if turn in found}


async def read(tx: Transaction) -> tuple[list[Line], list[tuple[Entry, Place | None]]]:
    """The line of every workspace, and what the bound one has in the queue with its places, in their order."""
    lines, entries = await builds.lines(tx), await builds.entries(tx, tx.workspace)
    building = sum(entry.began_at is not None for entry in entries)
    found = _places(tx, lines, range(len(entries) - building))
    return lines, [(entry, found.get(number - building)) for number, entry in enumerate(entries)]


def _places(tx: Transaction, lines: Sequence[Line], turns: Collection[int]) -> dict[int, Place]:
    own = next((line for line in lines if line.workspace_id == tx.workspace), None)
    return places(lines, own, turns) if own else {}
