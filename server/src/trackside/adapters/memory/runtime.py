"""The runtime without an engine: containers that only exist in this process and behave as they are told.

For development where no engine is, and for tests of all that stands on the port. What an image's containers do is set
with `behave`; the world is moved by hand with `crash`, `write`, `go_down` and `come_up`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from trackside.rooms.deployments.errors import RuntimeRefused, RuntimeUnavailable
from trackside.rooms.deployments.model import Network, RestartPolicy, Role, SeenReplica, SeenState, Workload

FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 60.0
TERMINATED = 143
KILLED = 137

LogLine = tuple[datetime, str, str]


@dataclass(frozen=True)
class Behaviour:
    """What a container does. Times in seconds.

    `exit_code`: ends by itself with it, `exit_after` its start; None = runs until it is stopped. `stop_after`: from the
    stop signal to its end with `stop_code`; None = ignores the signal. `refusal`: the engine can't start it, and says so;
    `hindrance`: it can't just now.
    """

    output: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    last_words: tuple[str, ...] = ()  # written at the stop signal
    exit_code: int | None = None
    exit_after: float = 0.0
    stop_code: int = TERMINATED
    stop_after: float | None = 0.0
    listening: tuple[int, ...] = ()
    listening_loopback: tuple[int, ...] = ()
    is_out_of_memory: bool = False
    refusal: str = ""
    hindrance: str = ""


@dataclass
class Container:
    """One virtual container. `run` counts its starts, so that a timer of an earlier run finds nothing to do."""

    workload: Workload
    behaviour: Behaviour
    state: SeenState = SeenState.CREATED
    exit_code: int | None = None
    is_out_of_memory: bool = False
    restarts: int = 0
    started_at: datetime | None = None
    run: int = 0
    is_stopping: bool = False
    lines: list[LogLine] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, stream: str, line: str) -> None:
        """Log a line; no two have the same time."""
        now = datetime.now(UTC)
        if self.lines and now <= self.lines[-1][0]:
            now = self.lines[-1][0] + timedelta(microseconds=1)
        self.lines.append((now, stream, line))
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def see(self) -> SeenReplica:
        is_up = self.state is SeenState.RUNNING
        return SeenReplica(
            replica_id=self.workload.replica_id,
            deployment_id=self.workload.deployment_id,
            service_instance_id=self.workload.service_instance_id,
            workspace_id=self.workload.workspace_id,
            role=self.workload.role,
            state=self.state,
            address=self.workload.address,
            exit_code=None if is_up else self.exit_code,
            is_out_of_memory=self.is_out_of_memory,
            restarts=self.restarts,
            started_at=self.started_at,
            listening=self.behaviour.listening if is_up else (),
            listening_loopback=self.behaviour.listening_loopback if is_up else (),
        )


class MemoryRuntime:
    """Port `Runtime`. `guard` is called before each verb: the platform passes one that refuses open transactions."""

    def __init__(self, guard: Callable[[], None] = lambda: None) -> None:
        self._guard = guard
        self._is_up = True
        self._silence: asyncio.Event | None = None
        self.waiting = 0
        """How many wait for an engine that hangs."""
        self._containers: dict[UUID, Container] = {}
        self._networks: dict[UUID, Network] = {}
        self._behaviours: dict[str, Behaviour] = {}
        self._watchers: set[asyncio.Queue[tuple[UUID, UUID] | None]] = set()

    # --- moving the world ---

    def behave(self, image_id: str, behaviour: Behaviour) -> None:
        """Set what containers of this image do from their next start on. An image never named runs and stays silent."""
        self._behaviours[image_id] = behaviour

    def crash(self, replica_id: UUID, exit_code: int = 1, *, is_out_of_memory: bool = False) -> None:
        """End a running container as if by itself; its restart policy takes over."""
        self._exit(self._containers[replica_id], exit_code, is_out_of_memory=is_out_of_memory)

    def write(self, replica_id: UUID, line: str, stream: str = "stdout") -> None:
        """Let a container log a line."""
        self._containers[replica_id].write(stream, line)

    def listen(self, replica_id: UUID, *ports: int) -> None:
        """Let a container listen on these ports from now on."""
        container = self._containers[replica_id]
        container.behaviour = replace(container.behaviour, listening=ports)

    def workload(self, replica_id: UUID) -> Workload:
        """What a container was started with. Raises `KeyError` where there is none."""
        return self._containers[replica_id].workload

    def go_down(self) -> None:
        """The engine is gone: verbs raise, watchers end; containers run on."""
        self._is_up = False
        for watcher in self._watchers:
            watcher.put_nowait(None)
        for container in self._containers.values():
            container.wake()

    def come_up(self) -> None:
        self._is_up = True
        self._silence = None

    def hang(self) -> None:
        """The engine answers no verb; who waited for an answer until now gives up."""
        if self._silence:
            self._silence.set()
        self._silence = asyncio.Event()

    # --- the port ---

    async def close(self) -> None:
        """End every container, so that no timer is left."""
        for container in self._containers.values():
            container.run += 1
        self._containers.clear()

    async def ensure_network(self, network: Network) -> None:
        await self._enter()
        present = self._networks.get(network.environment_id)
        if present and present != network and self._on(network.environment_id):
            raise RuntimeRefused(f"Containers are still on {present.subnet}, but {network.subnet} is planned.")
        others = (other for other in self._networks.values() if other.environment_id != network.environment_id)
        if any(other.subnet.overlaps(network.subnet) for other in others):
            raise RuntimeRefused(f"The addresses {network.subnet} are in use by another network of this machine.")
        self._networks[network.environment_id] = network

    async def remove_network(self, environment_id: UUID) -> None:
        await self._enter()
        if environment_id in self._networks and self._on(environment_id):
            raise RuntimeUnavailable(f"Containers are still on the network of environment {environment_id}.")
        self._networks.pop(environment_id, None)

    async def networks(self) -> Sequence[Network]:
        await self._enter()
        return list(self._networks.values())

    async def start(self, workload: Workload) -> None:
        await self._enter()
        container = self._containers.get(workload.replica_id)
        behaviour = self._behaviours.get(workload.image_id, Behaviour())
        if behaviour.hindrance:
            raise RuntimeUnavailable(behaviour.hindrance)
        if container is None:
            container = self._containers[workload.replica_id] = Container(workload, behaviour)
        if container.state is not SeenState.CREATED:
            return
        if container.behaviour.refusal:
            container.exit_code = 127
            raise RuntimeRefused(container.behaviour.refusal)
        self._networks.setdefault(workload.network.environment_id, workload.network)
        self._run(container)

    async def restart(self, replica_id: UUID, grace_seconds: float) -> None:
        await self._enter()
        container = self._containers.get(replica_id)
        if container is None:
            raise RuntimeRefused(f"There is no container for replica {replica_id}.")
        await self.terminate(replica_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while container.state is not SeenState.EXITED:
                    await container.changed.wait()
        if container.state is not SeenState.EXITED:
            self._exit(container, KILLED)
        container.restarts = 0
        self._run(container)

    async def terminate(self, replica_id: UUID) -> None:
        await self._enter()
        container = self._containers.get(replica_id)
        if container is None or container.is_stopping:
            return
        if container.state is SeenState.RESTARTING:
            container.run += 1
            container.state = SeenState.EXITED
        if container.state is not SeenState.RUNNING:
            return
        container.is_stopping = True
        self._tell(container)
        for line in container.behaviour.last_words:
            container.write("stdout", line)
        behaviour = container.behaviour
        if behaviour.stop_after is not None:
            self._later(container, behaviour.stop_after, lambda: self._exit(container, behaviour.stop_code))

    async def kill(self, replica_id: UUID) -> None:
        await self._enter()
        container = self._containers.get(replica_id)
        if container is None or container.state is SeenState.EXITED:
            return
        container.is_stopping = True
        if container.state is SeenState.RUNNING:
            self._exit(container, KILLED)
        container.run += 1
        container.state = SeenState.EXITED

    async def remove(self, replica_id: UUID) -> None:
        await self._enter()
        container = self._containers.pop(replica_id, None)
        if container is None:
            return
        if container.state is SeenState.RUNNING:
            container.is_stopping = True
            self._exit(container, KILLED)
        container.run += 1

    async def observe(self, service_instance_id: UUID) -> Sequence[SeenReplica]:
        return [replica for replica in await self._see() if replica.service_instance_id == service_instance_id]

    async def observe_all(self) -> Sequence[SeenReplica]:
        return [listed(replica) for replica in await self._see()]

    async def watch(self) -> AsyncIterator[tuple[UUID, UUID]]:
        await self._enter()
        queue: asyncio.Queue[tuple[UUID, UUID] | None] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            while ids := await queue.get():
                yield ids
        finally:
            self._watchers.discard(queue)

    async def logs(self, replica_id: UUID, since: datetime | None, *, follow: bool) -> AsyncIterator[LogLine]:
        await self._enter()
        container = self._containers.get(replica_id)
        if container is None:
            return
        run, position = container.run, 0
        while True:
            changed = container.changed
            while position < len(container.lines):
                at, stream, line = container.lines[position]
                position += 1
                if since is None or at > since:
                    yield at, stream, line
            if not follow or container.run != run or container.state is not SeenState.RUNNING:
                return
            await changed.wait()
            if not self._is_up:
                raise RuntimeUnavailable("The container engine went away.")

    # --- inside ---

    async def _enter(self) -> None:
        self._guard()
        await asyncio.sleep(0)
        if self._silence:
            self.waiting += 1
            await self._silence.wait()
            self.waiting -= 1
            raise RuntimeUnavailable("The container engine does not answer.")
        if not self._is_up:
            raise RuntimeUnavailable("The container engine can't be reached.")

    async def _see(self) -> list[SeenReplica]:
        await self._enter()
        return [container.see() for container in self._containers.values()]

    def _on(self, environment_id: UUID) -> bool:
        return any(c.workload.environment_id == environment_id for c in self._containers.values())

    def _run(self, container: Container) -> None:
        container.run += 1
        container.state, container.is_stopping, container.is_out_of_memory = SeenState.RUNNING, False, False
        container.started_at = datetime.now(UTC)
        behaviour = container.behaviour
        for stream, lines in (("stdout", behaviour.output), ("stderr", behaviour.errors)):
            for line in lines:
                container.write(stream, line)
        self._tell(container)
        code = behaviour.exit_code
        if code is not None:
            is_out = behaviour.is_out_of_memory
            self._later(container, behaviour.exit_after, lambda: self._exit(container, code, is_out_of_memory=is_out))

    def _exit(self, container: Container, exit_code: int, *, is_out_of_memory: bool = False) -> None:
        if container.state is not SeenState.RUNNING:
            return
        container.exit_code, container.is_out_of_memory = exit_code, is_out_of_memory
        container.state = SeenState.EXITED
        if self._is_restarted(container):
            container.state = SeenState.RESTARTING
            delay = min(FIRST_BACKOFF * 2**container.restarts, LONGEST_BACKOFF)
            container.restarts += 1
            self._later(container, delay, lambda: self._run(container))
        container.wake()
        self._tell(container)

    def _is_restarted(self, container: Container) -> bool:
        workload = container.workload
        if container.is_stopping or workload.role is Role.PRE_DEPLOY or workload.restart is RestartPolicy.NEVER:
            return False
        if workload.restart is RestartPolicy.ALWAYS:
            return True
        return container.exit_code != 0 and container.restarts < workload.max_restarts

    def _later(self, container: Container, delay: float, act: Callable[[], None]) -> None:
        """Do it after a time, unless the container has been started, stopped or removed since."""
        run = container.run

        def if_still() -> None:
            if container.run == run:
                act()

        asyncio.get_running_loop().call_later(delay, if_still)

    def _tell(self, container: Container) -> None:
        for watcher in self._watchers:
            watcher.put_nowait((container.workload.workspace_id, container.workload.service_instance_id))


def listed(replica: SeenReplica) -> SeenReplica:
    """What a listing of everything tells of a replica."""
    if replica.state is not SeenState.RUNNING:
        return replica
    return replace(replica, restarts=0, started_at=None, listening=(), listening_loopback=())
