"""What deployments ask of the world and of higher rooms."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from trackside.rooms.deployments.model import Network, SeenReplica, Workload


class Runtime(Protocol):
    """The engine that runs containers. It touches only what carries this installation's labels; every verb is idempotent.

    Errors: `deployments.errors.RuntimeUnavailable` (try again later), `RuntimeRefused` (this workload can't run; says why).
    """

    async def ensure_network(self, network: Network) -> None:
        """Have the environment's network, on its very subnet."""
        ...

    async def remove_network(self, environment_id: UUID) -> None:
        """Remove it; no error where it is gone. Containers still on it make this `RuntimeUnavailable`."""
        ...

    async def networks(self) -> Sequence[Network]:
        """Every network of this installation that the engine has."""
        ...

    async def start(self, workload: Workload) -> None:
        """Have the container, started. One that exists under this replica's id is left as it is (started if only created)."""
        ...

    async def restart(self, replica_id: UUID, grace_seconds: float) -> None:
        """SIGTERM, SIGKILL after the grace, start again: same container, same address."""
        ...

    async def terminate(self, replica_id: UUID) -> None:
        """Send the stop signal to the app itself and return at once; the engine does not restart it afterwards."""
        ...

    async def kill(self, replica_id: UUID) -> None:
        """SIGKILL at once, and no restart; the container and its log stay. No error where it does not run."""
        ...

    async def remove(self, replica_id: UUID) -> None:
        """Kill at once if need be, and remove; no error where it is gone."""
        ...

    async def observe(self, service_instance_id: UUID) -> Sequence[SeenReplica]:
        """Every container of ours of this service instance, in any state."""
        ...

    async def observe_all(self) -> Sequence[SeenReplica]:
        """Every container of ours on the engine, in one listing however many run.

        Of those that run it tells less than `observe`: neither ports nor restarts nor when they were started.
        """
        ...

    def watch(self) -> AsyncIterator[tuple[UUID, UUID]]:
        """(workspace, service instance) each time one of its containers starts, dies or is killed. Ends when the engine goes."""
        ...

    def logs(
        self, replica_id: UUID, since: datetime | None, *, follow: bool
    ) -> AsyncIterator[tuple[datetime, str, str]]:
        """(time, "stdout" | "stderr", line), each stream in order, strictly after `since`. With `follow`, until it exits.

        Two lines of different streams may come in the other order of their times.
        """
        ...


class Logs(Protocol):
    """Where the logs of a deployment go; joined to the log store by bootstrap."""

    def build_log(self, workspace_id: UUID, deployment_id: UUID) -> Callable[[str], Awaitable[None]]:
        """Takes the lines of the deployment's build."""
        ...

    async def collect_rest(self, workspace_id: UUID, deployment_id: UUID, replica_id: UUID) -> None:
        """Store what the container has logged and the store has not, before the container is removed."""
        ...

    async def collect_garbage(self) -> object:
        """Drop the logs that nobody keeps any longer. Errors: those of the store, of kind UNAVAILABLE."""
        ...
