"""What the deployer and the builder do when a job or the timer calls: the room's engine, without a permission to ask."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from trackside.kit.db import Database
from trackside.rooms.builds.service import Builds
from trackside.rooms.deployments import store
from trackside.rooms.deployments.converge import Converger, Parts, until_rest
from trackside.rooms.deployments.converge.deleting import clear_away
from trackside.rooms.deployments.converge.preparing import Preparer
from trackside.rooms.deployments.model import Limits
from trackside.rooms.deployments.ports import Logs, Runtime
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletable, Deletion


@dataclass(frozen=True)
class World:
    """The ports the engine works with."""

    runtime: Runtime
    builds: Builds
    logs: Logs


@dataclass(frozen=True)
class Defaults:
    """What the installation settles for all deployments."""

    addressing: Addressing
    limits: Limits
    kept_images: int


class Engine:
    """Converges, prepares, clears away. Every verb is idempotent."""

    def __init__(self, database: Database, vault: projects.Vault, world: World, defaults: Defaults) -> None:
        self._database = database
        self._world = world
        self._defaults = defaults
        self._converger = Converger(
            Parts(database, world.runtime, world.logs, vault), defaults.addressing, defaults.limits
        )
        self._preparer = Preparer(database, world.builds, vault, world.logs)

    async def converge(self, workspace_id: UUID, instance_id: UUID, wait: Callable[[float], Awaitable[None]]) -> None:
        """Make the service instance run what is wanted, until it rests; `wait` sleeps at most so many seconds."""
        await until_rest(self._converger, workspace_id, instance_id, wait)

    async def prepare(self, workspace_id: UUID, deployment_id: UUID) -> None:
        """Make the deployment's image."""
        await self._preparer.prepare(workspace_id, deployment_id)

    async def clear_away(self, deletion: Deletion) -> bool:
        """One pass of a deletion; whether all is gone."""
        return not await clear_away(self._database, self._world.runtime, deletion)

    async def collect_images(self, workspace_id: UUID, instance_id: UUID) -> None:
        """Keep the images of the last deployments that reached SUCCESS and of those under way; give up the others."""
        async with self._database.transaction(workspace_id) as tx:
            kept = await store.images_to_keep(tx, instance_id, self._defaults.kept_images)
        await self._world.builds.keep_only(instance_id, {deployment_id for deployment_id, _ in kept})

    async def due(self) -> list[tuple[UUID, UUID]]:
        """(workspace, service instance) of everything to look at."""
        async with self._database.transaction() as tx:
            return await store.all_due(tx)

    async def unprepared(self, workspace_id: UUID) -> list[tuple[UUID, bool]]:
        """(deployment, whether its source is an image) of deployments of a workspace that wait for an image."""
        async with self._database.transaction(workspace_id) as tx:
            return await store.unfinished_preparations(tx)

    async def deletions(self) -> list[Deletion]:
        """Deletions that are not finished."""
        async with self._database.transaction() as tx:
            return await projects.unfinished_deletions(tx)


def deletion(workspace_id: UUID, kind: str, subject_id: UUID) -> Deletion:
    """A deletion out of a job's arguments."""
    return Deletion(workspace_id, Deletable(kind), subject_id)
