"""The one place that reads settings and joins adapters to ports; each process is put together here."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from ipaddress import IPv4Network
from pathlib import Path
from typing import NoReturn
from uuid import UUID

from litestar import Litestar

from trackside.adapters.archives.limits import ArchiveLimits
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.buildkit.options import BaseImages, BuildKitOptions, CompanyNetwork
from trackside.adapters.docker.images import DockerImages
from trackside.adapters.docker.manifests import DockerOptions
from trackside.adapters.docker.runtime import DockerRuntime
from trackside.adapters.git.options import GitOptions
from trackside.adapters.git.sources import GitSources
from trackside.adapters.logfiles.store import FileLogStore
from trackside.adapters.logfiles.turns import FileTurns
from trackside.adapters.logfiles.writer import LogOptions
from trackside.adapters.objects.folder import UploadFolder
from trackside.adapters.prober.prober import ReplicaProber
from trackside.adapters.proxy.access_log import AccessLog
from trackside.adapters.proxy.haproxy import HAProxy
from trackside.adapters.proxy.launch import launch
from trackside.adapters.proxy.options import HAProxyOptions
from trackside.adapters.proxy.runtime import RuntimeSocket
from trackside.adapters.resolver.resolver import DnsResolver, ResolverOptions
from trackside.adapters.resolver.upstream import Nameservers
from trackside.config import Settings, adopted, given, state_directory
from trackside.entry.admin import database
from trackside.entry.admin import replay as replaying
from trackside.entry.admin.replay import Replayed
from trackside.entry.edge import run as edge
from trackside.entry.rest.app import RestParts, create_app
from trackside.entry.worker import builder, deployer
from trackside.entry.worker.nudges import Nudges
from trackside.host.files import read_json, write_json
from trackside.host.installation import layout_of, open_installation, read_installation, save_settings
from trackside.host.machine import Machine, MachineOptions
from trackside.kit import events
from trackside.kit.clock import SystemClock
from trackside.kit.crypto import Keyring
from trackside.kit.db import Database
from trackside.kit.jobs import Jobs
from trackside.rooms.builds import service as builds
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import Limits
from trackside.rooms.deployments.ports import Runtime
from trackside.rooms.deployments.service.engine import Defaults, Engine, World
from trackside.rooms.identity import service as identity
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Access, Addressing, BackendReport, EdgeState
from trackside.rooms.projects import service as projects
from trackside.rooms.telemetry import service as telemetry
from trackside.rooms.telemetry.ports import LogStore
from trackside.subscriptions import reactions

VERSION = version("trackside")
CHECKOUT = Path(__file__).parents[3]
"""Where the platform was checked out."""
ROOMS = (identity, projects, builds, networking, deployments)
READ_MODELS = tuple(room.READ_MODELS for room in ROOMS)


@dataclass(frozen=True)
class DeploymentLogs:
    """Port `deployments.Logs` over the log store and the collector."""

    store: LogStore
    rest: Callable[[UUID, UUID, UUID], Awaitable[None]]

    def build_log(self, workspace_id: UUID, deployment_id: UUID) -> Callable[[str], Awaitable[None]]:
        return telemetry.build_log(self.store, workspace_id, deployment_id)

    async def collect_rest(self, workspace_id: UUID, deployment_id: UUID, replica_id: UUID) -> None:
        await self.rest(workspace_id, deployment_id, replica_id)


class House:
    """Everything a process of this installation is made of, each part made once, when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keyring = Keyring.load(settings.home / "keys" / "keyring.json")
        self.database = Database(settings.database_url, SystemClock())
        self.jobs = Jobs(settings.database_url)
        self.vault = projects.Vault(self.keyring)
        self.addressing = Addressing(settings.base_domain, IPv4Network(settings.network_pool))
        know_events(self.jobs)

    def owner(self) -> Database:
        """The database as the owner of its schemas, for migrations and replay only."""
        return Database(self.settings.database_owner_url, SystemClock(), pool_size=2)

    def runtime(self) -> Runtime:
        settings = self.settings
        options = DockerOptions(interface_prefix=settings.interface_prefix)
        return DockerRuntime(settings.engine_url, settings.installation, options)

    def log_store(self) -> LogStore:
        options = LogOptions(stream_bytes=self.settings.log_bytes, keep_days=self.settings.log_days)
        return FileLogStore(self.settings.home / "logs" / "apps", options)

    def collector(self, runtime: Runtime, store: LogStore) -> telemetry.Collector:
        return telemetry.Collector(runtime, store, FileTurns(self.settings.home / "logs" / "turns"))

    def uploads(self) -> UploadFolder:
        return UploadFolder(self.settings.home / "uploads", self.settings.upload_bytes)

    def builds(self) -> builds.Builds:
        settings = self.settings
        work = settings.home / "builds"
        return builds.Builds(
            GitSources(git_options(settings, work / "fetches"), ArchiveLimits()),
            BuildKitBuilder(buildkit_options(settings, work / "buildkit")),
            DockerImages(settings.engine_url, settings.installation),
            self.uploads(),
            builds.Workshop(work / "trees", {"dev.trackside.installation": settings.installation}),
        )

    def engine(self, runtime: Runtime) -> Engine:
        settings = self.settings
        limits = Limits(cpu=settings.app_cpu, memory_bytes=settings.app_memory_bytes)
        store = self.log_store()
        logs = DeploymentLogs(store, self.collector(runtime, store).collect_rest)
        return Engine(
            self.database,
            self.vault,
            World(runtime, self.builds(), logs),
            Defaults(self.addressing, limits, settings.kept_images),
        )

    def rest(self) -> Litestar:
        settings = self.settings
        return create_app(
            RestParts(
                self.database,
                self.vault,
                self.addressing,
                self.log_store(),
                self.uploads(),
                f"http://{{host}}:{settings.edge_port}",
                VERSION,
            )
        )

    def deployer(self) -> deployer.Deployer:
        runtime = self.runtime()
        return deployer.Deployer(self.database, self.jobs, self.engine(runtime), runtime, Nudges())

    def builder(self) -> builder.BuilderProcess:
        return builder.BuilderProcess(self.jobs, self.engine(self.runtime()), self.settings.build_slots)


def know_events(jobs: Jobs) -> None:
    """Tell the registry every event, how it is folded, and what follows from it."""
    for room in ROOMS:
        events.registry.project(room.PROJECTIONS)
    events.registry.react(reactions(jobs))


def git_options(settings: Settings, directory: Path) -> GitOptions:
    """How sources are fetched here."""
    return GitOptions(
        directory,
        file_roots=settings.file_source_roots,
        allow_private=settings.allow_private_sources,
        ca_bundle=settings.ca_bundle,
    )


def buildkit_options(settings: Settings, directory: Path) -> BuildKitOptions:
    """How builds run here."""
    return BuildKitOptions(
        directory,
        build_engine_url=settings.build_engine_url,
        engine_url=settings.engine_url,
        docker_program=settings.docker_program,
        cgroup=settings.build_cgroup,
        seconds=settings.build_seconds,
        memory_bytes=settings.build_memory_bytes,
        disk_bytes=settings.build_disk_bytes,
        slots=settings.build_slots,
        base_images=BaseImages(settings.base_images),
        registry_mirror=settings.registry_mirror,
        network=CompanyNetwork(
            settings.ca_bundle,
            settings.pip_index_url,
            settings.npm_registry,
            settings.apt_mirror,
            settings.go_proxy,
        ),
    )


# --- the host's commands ---


def settings() -> Settings:
    """The settings of this state directory."""
    return Settings()


async def open_machine() -> Machine:
    """The machine's parts for this state directory, which is made at the first call."""
    environment = given()
    installation = await open_installation(state_directory(), environment)
    layout = layout_of(installation, state_directory())
    stored = read_json(layout.settings_file) or {}
    if "file_source_roots" not in stored and (CHECKOUT / ".git").exists():
        # The examples are deployed out of the checkout's own repository.
        save_settings(layout, {"file_source_roots": [str(CHECKOUT)]})
    save_settings(layout, adopted(environment))
    found = settings()
    write_json(found.home / "cli.json", {"api_url": found.api_url})
    return Machine(layout, installation, machine_options(found), environment)


def present_machine() -> Machine | None:
    """The machine's parts, where this state directory was ever started."""
    installation = read_installation(state_directory())
    if installation is None:
        return None
    found = settings()
    return Machine(layout_of(installation, found.home), installation, machine_options(found), given())


def machine_options(found: Settings) -> MachineOptions:
    """What the machine's parts depend on."""
    return MachineOptions(
        api_host=found.api_host,
        edge_host=found.edge_host,
        build_cpu=found.build_cpu,
        build_memory_bytes=found.build_memory_bytes,
        build_disk_bytes=found.build_disk_bytes,
        registry_mirror=found.registry_mirror,
    )


async def prepare_database() -> None:
    """Bring the database up to date; run at every start."""
    house = House(settings())
    owner = house.owner()
    try:
        await database.prepare(house.settings.database_owner_url, house.database, owner, house.keyring)
    finally:
        await owner.close()
        await house.database.close()


async def create_token(name: str) -> str:
    """A token that acts as the owner of the workspace `default`."""
    house = House(settings())
    try:
        return await database.create_token(house.database, name)
    finally:
        await house.database.close()


async def replay() -> Replayed:
    """Rebuild every read model from the events."""
    house = House(settings())
    owner = house.owner()
    async with owner.transaction() as tx:
        workspaces = [workspace.id for workspace in await identity.all_workspaces(tx)]
    try:
        return await replaying.replay(owner, workspaces, READ_MODELS)
    finally:
        await owner.close()
        await house.database.close()


async def verify_events() -> dict[str, int]:
    """The streams whose chain is broken, with the number of the first broken event."""
    house = House(settings())
    broken: dict[str, int] = {}
    async with house.database.transaction() as tx:
        workspaces = await identity.all_workspaces(tx)
        if (seq := await events.verify(tx, "platform")) is not None:
            broken["platform"] = seq
    for workspace in workspaces:
        async with house.database.transaction(workspace.id) as tx:
            if (seq := await events.verify(tx, "workspace")) is not None:
                broken[workspace.name] = seq
    await house.database.close()
    return broken


# --- the platform's processes ---


async def run_deployer() -> None:
    """The deployer, until cancelled."""
    await deployer.run(House(settings()).deployer())


async def run_builder() -> None:
    """The builder, until cancelled."""
    await builder.run(House(settings()).builder())


async def run_monitor() -> None:
    """The monitor, until cancelled: collects what containers log."""
    house = House(settings())
    await house.collector(house.runtime(), house.log_store()).run()


async def run_edge() -> None:
    """The edge process, until told to stop."""
    await edge.run(Edge(House(settings())).process())


def become_haproxy() -> NoReturn:
    """Turn into HAProxy, serving what was served last."""
    launch(haproxy_options(settings()))


def haproxy_options(found: Settings) -> HAProxyOptions:
    """Where HAProxy listens and lives."""
    return HAProxyOptions(
        found.home / "haproxy",
        Path(f"/run/trackside-{found.installation}/haproxy"),
        host=found.edge_host,
        port=found.edge_port,
        user="haproxy",
    )


class Edge:
    """The edge process, put together."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._options = haproxy_options(house.settings)
        self._owners: dict[UUID, UUID] = {}
        self._prober = ReplicaProber(SystemClock())
        self._resolver = DnsResolver(
            ResolverOptions(outside_only=(IPv4Network(house.settings.build_network)[1],)),
            Nameservers(house.settings.upstream_resolvers),
        )
        self._notices: AsyncIterator[str] | None = None

    def process(self) -> edge.EdgeProcess:
        """What the process runs, and how it is put away."""
        parts = networking.Parts(HAProxy(self._options), self._prober, self._resolver)
        store = networking.Store(self._load, self._report, self._wait_for_change)
        runtime = RuntimeSocket(self._options.runtime_socket)
        access_log = AccessLog(
            self._options.access_log, self._keep_accesses, runtime, self._options.limits.logged_backlog
        )
        return edge.EdgeProcess(networking.EdgeKeeper(parts, store).run, access_log.run, self._stop)

    async def _load(self) -> EdgeState:
        async with self._house.database.transaction() as tx:
            self._owners = await networking.workspaces(tx)
            return await networking.edge_state(tx, self._house.addressing)

    async def _report(self, reports: Sequence[BackendReport], applied: Mapping[UUID, int]) -> None:
        async with self._house.database.transaction() as tx:
            await networking.save_reports(tx, reports, applied)

    async def _wait_for_change(self) -> None:
        """Until the next notice; a connection that broke is made anew."""
        if self._notices is None:
            self._notices = self._house.database.listen(networking.EDGE_CHANNEL)
        try:
            await anext(self._notices)
        except BaseException:
            self._notices = None
            raise

    async def _keep_accesses(self, entries: Sequence[Access]) -> None:
        if not self._owners:
            async with self._house.database.transaction() as tx:
                self._owners = await networking.workspaces(tx)
        await telemetry.keep_accesses(self._log_store, entries, self._owners)

    @cached_property
    def _log_store(self) -> LogStore:
        return self._house.log_store()

    async def _stop(self) -> None:
        await self._prober.stop()
        await self._resolver.stop()
        await self._house.database.close()
