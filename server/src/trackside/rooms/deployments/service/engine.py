"""What the deployer and the builder do when a job or the timer calls: the room's engine, without a permission to ask."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from trackside.kit.apart import apart
from trackside.kit.db import Database, Transaction
from trackside.kit.errors import TracksideError
from trackside.kit.garbage import Freed
from trackside.rooms.builds.model import LeastSpace
from trackside.rooms.builds.ports import Disks
from trackside.rooms.builds.service import Builds
from trackside.rooms.deployments import store
from trackside.rooms.deployments.converge import Converger, Parts, until_rest
from trackside.rooms.deployments.converge.collecting import collect_garbage, collect_uploads
from trackside.rooms.deployments.converge.deleting import clear_away
from trackside.rooms.deployments.converge.preparing import Preparer, PreparingParts
from trackside.rooms.deployments.converge.queueing import BuildQueue, Claim
from trackside.rooms.deployments.converge.space import SpaceGuard
from trackside.rooms.deployments.converge.surveying import survey
from trackside.rooms.deployments.model import Limits
from trackside.rooms.deployments.plan.images import to_give_up
from trackside.rooms.deployments.ports import Logs, Runtime
from trackside.rooms.deployments.store.builds import BUILD_CHANNEL
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletable, Deletion

__all__ = ["BUILD_CHANNEL", "Claim", "Defaults", "Engine", "World", "deletion"]


@dataclass(frozen=True)
class World:
    """The ports the engine works with."""

    runtime: Runtime
    builds: Builds
    logs: Logs
    disks: Disks


LEAST_SPACE = LeastSpace()


@dataclass(frozen=True)
class Defaults:
    """What the installation settles for all deployments. `is_engine_open`: any image on the engine may be deployed."""

    addressing: Addressing
    limits: Limits
    kept_images: int
    is_engine_open: bool = False
    least_space: LeastSpace = LEAST_SPACE


class Engine:
    """Converges, prepares, clears away. Every verb is idempotent."""

    def __init__(self, database: Database, vault: projects.Vault, world: World, defaults: Defaults) -> None:
        self._database = database
        self._world = world
        self._defaults = defaults
        self._converger = Converger(
            Parts(database, world.runtime, world.logs, vault), defaults.addressing, defaults.limits
        )
        self.queue = BuildQueue(database)
        """What builders take their builds from."""
        guard = SpaceGuard(world.disks, defaults.least_space, self._make_room)
        parts = PreparingParts(database, world.builds, vault, world.logs, guard)
        self._preparer = Preparer(parts, is_engine_open=defaults.is_engine_open)

    async def converge(self, workspace_id: UUID, instance_id: UUID, wait: Callable[[float], Awaitable[None]]) -> None:
        """Make the service instance run what is wanted, until it rests; `wait` sleeps at most so many seconds."""
        await until_rest(self._converger, workspace_id, instance_id, wait)

    async def prepare(self, workspace_id: UUID, deployment_id: UUID) -> None:
        """Make the deployment's image."""
        await self._preparer.prepare(workspace_id, deployment_id)

    async def clear_away(self, deletion: Deletion) -> bool:
        """One pass of a deletion; whether all is gone."""
        return not await clear_away(self._database, self._world.runtime, self._world.builds, deletion)

    async def collect_images(self, workspace_id: UUID, instance_id: UUID) -> bool:
        """Give up the images that nobody can go back to; whether that was all: a container holds its image until it is gone."""
        held = await self._world.builds.held(instance_id)  # first: what is held from now on is not looked at
        async with self._database.transaction(workspace_id) as tx:
            uses = (await store.image_uses(tx, [instance_id], self._defaults.kept_images))[instance_id]
        over = to_give_up(held, uses, self._defaults.kept_images)
        still_there = {seen.deployment_id for seen in await self._world.runtime.observe(instance_id)}
        await self._world.builds.give_up(instance_id, over - still_there)
        return not over & still_there

    async def collect(self, *, is_trial: bool = False) -> list[Freed]:
        """Remove what is nobody's from the engine that runs apps; in a trial only tell.

        Errors: `RuntimeUnavailable`, `ImageUnavailable`.
        """
        world = self._world
        return await collect_garbage(
            self._database, world.runtime, world.builds, self._defaults.kept_images, is_trial=is_trial
        )

    async def collect_of_builds(self, *, is_trial: bool = False) -> list[Freed]:
        """Remove what builds left, from their engine and their directories; in a trial only tell. Errors: `ImageUnavailable`,
        `QueueUnavailable`.
        """
        present = self._world.builds.laid_out()  # first: a build is on record before its source is laid out
        if is_trial:
            return await self._world.builds.collect(present, await self.queue.under_way(), is_trial=True)
        async with self.queue.still() as preparing:
            return await self._world.builds.collect(present, preparing, is_trial=False)

    async def collect_uploads(self, *, is_trial: bool = False) -> list[Freed]:
        """Remove archives that nobody needs any longer or that killed processes left behind; in a trial only tell."""
        world, kept = self._world, self._defaults.kept_images
        return await collect_uploads(self._database, world.builds, kept, is_trial=is_trial)

    async def _make_room(self, is_build: bool) -> None:
        """Collect garbage at once, and what builds can make anew, where one is to begin: the only one on record, unless others run.

        Errors: that of a part which can't be reached, once the others are done.
        """
        parts: list[Callable[[], Awaitable[object]]] = [
            self.collect,
            self.collect_uploads,
            self._world.logs.collect_garbage,
        ]
        parts += [self.collect_of_builds, self._empty_cache] if is_build else []
        troubles: list[TracksideError] = []
        for part in parts:
            try:
                await part()
            except TracksideError as trouble:
                troubles.append(trouble)
        if troubles:
            raise troubles[0]

    async def _empty_cache(self) -> None:
        async with self.queue.still() as preparing:
            await self._world.builds.make_room(is_idle=len(preparing) <= 1)

    async def restless(self) -> list[tuple[UUID, UUID]]:
        """(workspace, service instance) of all that need converging, out of one listing of the engine. Errors: `RuntimeUnavailable`."""
        return await survey(self._database, self._world.runtime, self._converger.stopwatch)

    async def unpulled(self) -> list[tuple[UUID, UUID]]:
        """(workspace, deployment) of all deployments whose existing image is still to be pulled."""
        return await self._everywhere("the look for images to pull", store.unpulled)

    async def deploying(self) -> list[tuple[UUID, UUID]]:
        """(workspace, service instance) of all that must converge whatever the engine says, even that it is away."""
        return await self._everywhere("the look for deployments under way", store.deploying)

    async def _everywhere(
        self, what: str, find: Callable[[Transaction], Awaitable[list[UUID]]]
    ) -> list[tuple[UUID, UUID]]:
        async with self._database.transaction() as tx:
            workspaces = {workspace_id for workspace_id, _ in await store.all_due(tx)}
        found: list[tuple[UUID, UUID]] = []
        for workspace_id in workspaces:
            with apart(what, workspace_id):
                async with self._database.transaction(workspace_id) as tx:
                    found += [(workspace_id, each) for each in await find(tx)]
        return found

    async def deletions(self) -> list[Deletion]:
        """Deletions that are not finished."""
        async with self._database.transaction() as tx:
            return await projects.unfinished_deletions(tx)


def deletion(workspace_id: UUID, kind: str, subject_id: UUID) -> Deletion:
    """A deletion out of a job's arguments."""
    return Deletion(workspace_id, Deletable(kind), subject_id)
