"""The engine and the edge as the platform joins them, on the real database; containers, images and the proxy are in memory.

`Fate` may end the engine at any of its touches of the world or the database, as a kill of its process would.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID

from conftest import Platform
from trackside.adapters.memory.builder import MemoryBuilder
from trackside.adapters.memory.disks import MemoryDisks
from trackside.adapters.memory.images import MemoryImages
from trackside.adapters.memory.logs import MemoryLogStore, MemoryTurns
from trackside.adapters.memory.proxy import MemoryProxy
from trackside.adapters.memory.runtime import Behaviour, MemoryRuntime
from trackside.adapters.memory.sources import MemoryRepository, MemorySources
from trackside.adapters.objects.folder import UploadFolder
from trackside.bootstrap import DeploymentLogs
from trackside.kit.clock import Clock, SystemClock
from trackside.kit.db import Database, Transaction, refuse_inside_transaction
from trackside.kit.ids import new_id
from trackside.rooms.builds.model import DiskSpace
from trackside.rooms.builds.service import Builds, Workshop
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.errors import RuntimeUnavailable
from trackside.rooms.deployments.model import Deployment, Limits, Role, SeenReplica, SeenState, Status
from trackside.rooms.deployments.service.engine import Defaults, Engine
from trackside.rooms.deployments.service.engine import World as Ports
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.converge import EdgeKeeper, Pace, Parts, Store
from trackside.rooms.networking.model import Addressing, Backend, BackendReport, EdgeState, Health, Name
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import ServiceInstance
from trackside.rooms.projects.service import Vault
from trackside.rooms.telemetry.ports import LogStore
from trackside.rooms.telemetry.service import Collector
from trackside.rooms.telemetry.service import collect_garbage as collect_logs

ADDRESSING = Addressing("localhost", IPv4Network("10.210.0.0/16"))
PACE = Pace(restless=0.01, calm=0.02, reload=0.5, retry=0.02)
SERVES = Behaviour(output=("started",), last_words=("stopping",), listening=(8080,), stop_after=0.02)
QUICK = {"deploy": {"drainingSeconds": 5, "healthcheckType": "TCP"}}


Job = Callable[[], Awaitable[object]]


class Killed(BaseException):
    """The process ended here."""


@dataclass
class Fate:
    """Counts what jobs of the engine touch, and ends the one that makes the `fatal` touch."""

    fatal: int | None = None
    passed: int = 0
    has_struck: bool = False

    def pass_by(self) -> None:
        self.passed += 1
        if self.passed == self.fatal:
            self.has_struck = True
            raise Killed


_fate: ContextVar[Fate | None] = ContextVar("what becomes of this job of the engine", default=None)


@contextmanager
def under(fate: Fate | None) -> Generator[None]:
    """What is begun in the block is struck by this fate."""
    token = _fate.set(fate)
    try:
        yield
    finally:
        _fate.reset(token)


def pass_by() -> None:
    """Nobody but the engine's jobs is ever struck."""
    if fate := _fate.get():
        fate.pass_by()


class MortalDatabase(Database):
    """A database whose user may die before a transaction, before its commit, and after it."""

    @asynccontextmanager
    async def transaction(
        self, workspace_id: UUID | None = None, *, actor: dict[str, str] | None = None
    ) -> AsyncGenerator[Transaction]:
        pass_by()
        async with super().transaction(workspace_id, actor=actor) as tx:
            yield tx
            pass_by()
        pass_by()


class SeenHealth:
    """A prober that looks at the runtime's containers instead of asking them over a network."""

    def __init__(self, runtime: MemoryRuntime) -> None:
        self._runtime = runtime
        self._health: dict[UUID, Health] = {}
        self._changed = asyncio.Event()
        self._watched: dict[UUID, int] = {}

    def watch(self, backends: Sequence[Backend], trusted: frozenset[UUID]) -> None:
        self._watched = {server.replica_id: server.port for backend in backends for server in backend.servers}

    def health(self) -> Mapping[UUID, Health]:
        return {replica_id: health for replica_id, health in self._health.items() if replica_id in self._watched}

    async def wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def run(self) -> None:
        seen: dict[UUID, SeenReplica] = {}
        while True:
            with suppress(RuntimeUnavailable):  # it would go on asking the containers
                seen = {replica.replica_id: replica for replica in await self._runtime.observe_all()}
            for replica_id, port in self._watched.items():
                replica = seen.get(replica_id)
                is_well = replica is not None and replica.state is SeenState.RUNNING and port == 8080
                before = self._health.get(replica_id)
                if before is None or before.is_healthy != is_well:
                    self._health[replica_id] = Health(is_well, "seen", datetime.now(UTC))
                    self._changed.set()
            await asyncio.sleep(0.01)


class NoNames:
    """A resolver that nobody asks."""

    async def serve(self, names: Sequence[Name], networks: Sequence[IPv4Network]) -> None:
        """Answer nothing."""


@dataclass
class EngineRoom:
    """What the tests move and look at. `database` is the engine's, whose user may be killed."""

    platform: Platform
    database: Database
    engine: Engine
    runtime: MemoryRuntime
    images: MemoryImages
    builder: MemoryBuilder
    proxy: MemoryProxy
    log_store: LogStore
    uploads: UploadFolder
    disks: MemoryDisks
    sources: MemorySources
    directory: Path
    addressing: Addressing = ADDRESSING

    @property
    def trees(self) -> Path:
        return self.directory / "trees"

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """As a person at a door, whom no fate strikes."""
        async with self.platform.database.transaction(
            self.platform.workspace_id, actor=self.platform.actor.as_record()
        ) as tx:
            yield tx

    async def a_service(self, name: str = "web", project: str = "shop") -> ServiceInstance:
        async with self.transaction() as tx:
            made = await projects.create_project(tx, self.platform.actor, project)
            await projects.create_service(tx, self.platform.actor, made.id, name)
            return (await projects.list_instances(tx, made.id))[0]

    async def deploy(self, instance_id: UUID, reference: str, **deploy: object) -> Deployment:
        """Ask for a deployment of an image that can be pulled, and whose containers serve."""
        image = self.images.put_in_registry(reference)
        self.runtime.behave(image.id, SERVES)
        return await self.request(instance_id, reference, **deploy)

    async def request(self, instance_id: UUID, reference: str, **deploy: object) -> Deployment:
        """Ask for a deployment of an image that may not be had."""
        source = {"kind": "image", "reference": reference}
        asked = deployments.Asked(source, {"deploy": {**QUICK["deploy"], **deploy}})
        async with self.transaction() as tx:
            return await deployments.request_deployment(tx, self.platform.actor, self.addressing, instance_id, asked)

    async def ask_for_build(self, instance_id: UUID, *steps: str, is_urgent: bool = False) -> Deployment:
        """Ask for a deployment of a repository whose Dockerfile has these steps."""
        url = f"https://git.test/{new_id()}"
        self.sources.repositories[url] = repository = MemoryRepository()
        repository.commit({"Dockerfile": "\n".join(("FROM scratch", *steps, f"LABEL unique={url}"))})
        asked = deployments.Asked({"kind": "git", "url": url}, QUICK, is_urgent)
        async with self.transaction() as tx:
            return await deployments.request_deployment(tx, self.platform.actor, self.addressing, instance_id, asked)

    async def run_jobs(self, deployment: Deployment, fate: Fate | None = None) -> None:
        """The jobs that a deployment leads to, begun again wherever they were killed."""
        workspace_id, instance_id = self.platform.workspace_id, deployment.service_instance_id
        await until_done(lambda: self.engine.prepare(workspace_id, deployment.id), fate)
        await self.converge(instance_id, fate)

    async def converge(self, instance_id: UUID, fate: Fate | None = None) -> None:
        await until_done(lambda: self.engine.converge(self.platform.workspace_id, instance_id, asyncio.sleep), fate)

    async def collect(self, instance_id: UUID) -> None:
        self.images.in_use = {
            self.runtime.workload(seen.replica_id).image_id for seen in await self.runtime.observe_all()
        }
        await self.engine.collect_images(self.platform.workspace_id, instance_id)

    async def serve(self, instance_id: UUID, reference: str, **deploy: object) -> Deployment:
        """A deployment from the request to its end; as it is then."""
        made = await self.deploy(instance_id, reference, **deploy)
        await self.run_jobs(made)
        return await self.read(made.id)

    async def read(self, deployment_id: UUID) -> Deployment:
        async with self.transaction() as tx:
            return await deployments.read_deployment(tx, self.platform.actor, deployment_id)

    async def until(self, deployment: Deployment, status: Status) -> None:
        async with asyncio.timeout(20):
            while (await self.read(deployment.id)).status is not status:
                await asyncio.sleep(0.01)

    async def seen(self, instance_id: UUID) -> Sequence[SeenReplica]:
        return [replica for replica in await self.runtime.observe(instance_id) if replica.role is Role.REPLICA]

    async def host(self, instance_id: UUID) -> str:
        async with self.transaction() as tx:
            return (await networking.hosts_of(tx, [instance_id]))[instance_id][0]


async def until_done(job: Job, fate: Fate | None) -> object:
    """What the job comes to, begun again wherever fate struck it."""
    with under(fate):
        async with asyncio.timeout(60):
            while True:
                try:
                    return await job()
                except Killed:
                    continue


@asynccontextmanager
async def engine_room(
    platform: Platform,
    directory: Path,
    *,
    log_store: LogStore | None = None,
    is_engine_open: bool = False,
    addressing: Addressing = ADDRESSING,
    clock: Clock | None = None,
) -> AsyncIterator[EngineRoom]:
    """Everything joined, with the edge running. Logs are in memory unless another store is given."""

    def guard() -> None:
        refuse_inside_transaction()
        pass_by()

    runtime, images, proxy, sources = MemoryRuntime(guard), MemoryImages(), MemoryProxy(), MemorySources()
    log_store, uploads = log_store or MemoryLogStore(), UploadFolder(directory / "uploads", 1 << 20)
    database = MortalDatabase(platform.database.url, clock or SystemClock())
    builder = MemoryBuilder(images)
    builds = Builds(sources, builder, images, uploads, Workshop(directory / "trees", {}))
    logs = DeploymentLogs(
        log_store,
        Collector(runtime, log_store, MemoryTurns()).collect_rest,
        lambda: collect_logs(database, log_store),
    )
    disks = MemoryDisks(DiskSpace("the apps' engine", "/none", 50 << 30, 100 << 30))
    defaults = Defaults(addressing, Limits(), 5, is_engine_open)
    engine = Engine(database, Vault(platform.keyring), Ports(runtime, builds, logs, disks), defaults)
    tasks = [asyncio.create_task(run) for run in edge_of(platform, runtime, proxy)]
    yield EngineRoom(
        platform,
        database,
        engine,
        runtime,
        images,
        builder,
        proxy,
        log_store,
        uploads,
        disks,
        sources,
        directory,
        addressing,
    )
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await runtime.close()
    await database.close()
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes


def edge_of(platform: Platform, runtime: MemoryRuntime, proxy: MemoryProxy) -> tuple[Coroutine[Any, Any, None], ...]:
    """What the edge process runs, as bootstrap joins it."""
    prober = SeenHealth(runtime)
    notices = platform.database.listen(networking.EDGE_CHANNEL)

    async def load() -> EdgeState:
        async with platform.database.transaction() as tx:
            return await networking.edge_state(tx, ADDRESSING)

    async def report(reports: Sequence[BackendReport], applied: Mapping[UUID, int]) -> None:
        async with platform.database.transaction() as tx:
            await networking.save_reports(tx, reports, applied)

    async def wait_for_change() -> None:
        await anext(notices)

    keeper = EdgeKeeper(Parts(proxy, prober, NoNames()), Store(load, report, wait_for_change), PACE)
    return keeper.run(), prober.run()
