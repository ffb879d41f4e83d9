"""Every part of an installation, made from its settings and joined to the port it fills."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from ipaddress import IPv4Network
from pathlib import Path
from uuid import UUID

from trackside.adapters.archives.limits import ArchiveLimits
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.buildkit.options import BaseImages, BuildKitOptions, CompanyNetwork
from trackside.adapters.docker.images import DockerImages
from trackside.adapters.docker.manifests import DockerOptions, Downtime
from trackside.adapters.docker.runtime import DockerRuntime
from trackside.adapters.git.options import GitOptions
from trackside.adapters.git.sources import GitSources
from trackside.adapters.logfiles.store import FileLogStore
from trackside.adapters.logfiles.turns import FileTurns
from trackside.adapters.logfiles.writer import LogOptions
from trackside.adapters.objects.folder import UploadFolder
from trackside.config import Settings, given
from trackside.entry.rest.app import RestParts, create_door
from trackside.entry.rest.envelope import Envelope
from trackside.entry.worker import builder, deployer, monitor
from trackside.entry.worker.nudges import Nudges
from trackside.host.disks import MachineDisks
from trackside.host.errors import PartFailed
from trackside.host.files import read_json
from trackside.host.layout import system_layout
from trackside.host.machine import named_services
from trackside.host.mirrors import Mirrors, endpoints
from trackside.kit import events
from trackside.kit.clock import SystemClock
from trackside.kit.crypto import Keyring
from trackside.kit.db import Database
from trackside.kit.garbage import Allowance, Freed
from trackside.kit.jobs import Jobs
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.model import LeastSpace
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import Limits
from trackside.rooms.deployments.ports import Runtime
from trackside.rooms.deployments.service.engine import Defaults, Engine, World
from trackside.rooms.identity import service as identity
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects
from trackside.rooms.telemetry import service as telemetry
from trackside.rooms.telemetry.ports import LogStore
from trackside.subscriptions import reactions

VERSION = version("trackside")
ROOMS = (identity, projects, builds, networking, deployments)
READ_MODELS = tuple(room.READ_MODELS for room in ROOMS)


@dataclass(frozen=True)
class DeploymentLogs:
    """Port `deployments.Logs` over the log store and the collector."""

    store: LogStore
    rest: Callable[[UUID, UUID, UUID], Awaitable[None]]
    garbage: Callable[[], Awaitable[object]]

    def build_log(self, workspace_id: UUID, deployment_id: UUID) -> Callable[[str], Awaitable[None]]:
        return telemetry.build_log(self.store, workspace_id, deployment_id)

    async def collect_rest(self, workspace_id: UUID, deployment_id: UUID, replica_id: UUID) -> None:
        await self.rest(workspace_id, deployment_id, replica_id)

    async def collect_garbage(self) -> object:
        return await self.garbage()


class House:
    """Everything a process of this installation is made of, each part made once, when it is first asked for."""

    def __init__(self, settings: Settings, *, answer_seconds: float | None = None) -> None:
        """`answer_seconds`: how long a statement to the database may take, where somebody waits for an answer."""
        self.settings = settings
        self.keyring = Keyring.load(settings.home / "keys" / "keyring.json")
        self.database = Database(settings.database_url, SystemClock(), seconds=answer_seconds)
        self.jobs = Jobs(settings.database_url)
        self.vault = projects.Vault(self.keyring)
        self.addressing = Addressing(settings.base_domain, IPv4Network(settings.network_pool), settings.edge_slots)
        self._closing: list[Callable[[], Awaitable[None]]] = [self.database.close]
        know_events(self.jobs)

    async def close(self) -> None:
        """Close what was opened of it."""
        while self._closing:
            await self._closing.pop()()

    @asynccontextmanager
    async def owner(self) -> AsyncGenerator[Database]:
        """The database as the owner of its schemas, for migrations and replay only."""
        opened = Database(self.settings.database_owner_url, SystemClock(), pool_size=2)
        try:
            yield opened
        finally:
            await opened.close()

    def runtime(self) -> Runtime:
        settings = self.settings
        told = read_json(system_layout(settings.installation, settings.home).downtime_file)
        downtime = (
            None if told is None else Downtime(*(datetime.fromisoformat(told[name]) for name in ("began", "ended")))
        )
        options = DockerOptions(interface_prefix=settings.interface_prefix, downtime=downtime)
        runtime = DockerRuntime(settings.engine_url, settings.installation, options)
        self._closing.append(runtime.close)
        return runtime

    def log_store(self) -> LogStore:
        found = self.settings
        options = LogOptions(stream_bytes=found.log_bytes, keep_days=found.log_days, all_bytes=found.all_logs_bytes)
        return FileLogStore(found.home / "logs" / "apps", options)

    def collector(self, runtime: Runtime, store: LogStore) -> telemetry.Collector:
        return telemetry.Collector(runtime, store, FileTurns(self.settings.home / "logs" / "turns"))

    def disks(self) -> MachineDisks:
        return machine_disks(self.settings)

    def uploads(self) -> UploadFolder:
        return UploadFolder(self.settings.home / "uploads", self.settings.upload_bytes, least_space(self.settings))

    def builds(self) -> builds.Builds:
        settings = self.settings
        work = settings.home / "builds"
        builder = BuildKitBuilder(buildkit_options(settings, work / "buildkit"))
        images = DockerImages(
            settings.engine_url, settings.installation, settings.registry_mirror_name, registries(settings)
        )
        self._closing += [builder.close, images.close]
        return builds.Builds(
            GitSources(git_options(settings, work / "fetches"), ArchiveLimits()),
            builder,
            images,
            self.uploads(),
            builds.Workshop(work / "trees", {"dev.trackside.installation": settings.installation}),
        )

    def engine(self, runtime: Runtime) -> Engine:
        settings = self.settings
        limits = Limits(cpu=settings.app_cpu, memory_bytes=settings.app_memory_bytes)
        store = self.log_store()
        logs = DeploymentLogs(store, self.collector(runtime, store).collect_rest, self.collect_logs)
        return Engine(
            self.database,
            self.vault,
            World(runtime, self.builds(), logs, self.disks()),
            Defaults(
                self.addressing, limits, settings.kept_images, settings.allow_engine_images, least_space(settings)
            ),
        )

    def rest(self) -> Envelope:
        settings = self.settings
        return create_door(
            RestParts(
                self.database,
                self.vault,
                self.addressing,
                self.log_store(),
                self.uploads(),
                settings.app_url,
                VERSION,
                settings.kept_images,
                settings.allow_engine_images,
            )
        )

    def deployer(self) -> deployer.Deployer:
        runtime, store = self.runtime(), self.log_store()

        async def drop_logs(workspace_id: UUID) -> bool:
            await telemetry.drop_unowned(self.database, store, workspace_id)
            return True

        return deployer.Deployer(self.database, self.jobs, self.engine(runtime), runtime, Nudges(), drop_logs)

    async def collect_logs(self, *, is_trial: bool = False) -> list[Freed]:
        """Drop the logs that nobody keeps; in a trial only tell."""
        return await telemetry.collect_garbage(self.database, self.log_store(), is_trial=is_trial)

    def monitor(self, read_access_log: Callable[[], Coroutine[None, None, None]]) -> monitor.MonitorProcess:
        collector = self.collector(self.runtime(), self.log_store())
        return monitor.MonitorProcess(collector, self.collect_logs, read_access_log)

    def builder(self) -> builder.BuilderProcess:
        settings = self.settings
        layout = system_layout(settings.installation, settings.home)
        mirrors = Mirrors(layout.firewall_table, endpoints(named_services(settings.registry_mirror, given())))
        return builder.BuilderProcess(self.database, self.engine(self.runtime()), settings.build_slots, mirrors.follow)


def know_events(jobs: Jobs) -> None:
    """Tell the registry every event, how it is folded, and what follows from it."""
    for room in ROOMS:
        events.registry.project(room.PROJECTIONS)
    events.registry.react(reactions(jobs))


def least_space(settings: Settings) -> LeastSpace:
    """From when on a disk is low."""
    return LeastSpace(settings.low_disk_bytes, settings.low_disk_percent)


async def low_disks() -> list[str]:
    """How it stands with each disk that is low, in sentences."""
    found = settings()
    least = least_space(found)
    return [least.sentence(space) for space in await machine_disks(found).measure() if least.is_low(space)]


def machine_disks(settings: Settings) -> MachineDisks:
    """The disks that deployments fill."""
    layout = system_layout(settings.installation, settings.home)
    return MachineDisks(settings.home, layout.data, layout.build_disk, settings.engine_url)


def git_options(settings: Settings, directory: Path) -> GitOptions:
    """How sources are fetched here."""
    return GitOptions(
        directory,
        file_roots=settings.file_source_roots,
        closed=(settings.home,),
        allow_private=settings.allow_private_sources,
        ca_bundle=settings.ca_bundle,
    )


def registries(settings: Settings) -> frozenset[str]:
    """The only registries that may be asked for images; none: any may."""
    named = settings.image_registries
    mirror = settings.registry_mirror_name.partition("/")[0]
    return frozenset(name.lower() for name in (*named, mirror) if name) if named else frozenset()


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
        cache=Allowance(
            timedelta(days=settings.build_cache_days), settings.build_cache_bytes or settings.build_disk_bytes // 2
        ),
        slots=settings.build_slots,
        base_images=BaseImages(settings.base_images),
        registry_mirror=settings.registry_mirror_name,
        registries=registries(settings),
        network=CompanyNetwork(
            settings.ca_bundle,
            settings.pip_index_url,
            settings.npm_registry,
            settings.apt_mirror,
            settings.go_proxy,
        ),
    )


def settings() -> Settings:
    """The settings of this state directory."""
    return Settings()


@asynccontextmanager
async def started_house() -> AsyncGenerator[House]:
    """The house, for one command of the host. Errors: `PartFailed` where this state directory was never started."""
    found = settings()
    if not (found.home / "settings.json").exists() and not (found.home / "keys").exists():
        raise PartFailed(
            f"There is no platform in {found.home}.",
            hint="Start one: `bin/trackside server start`; or name its state directory: TRACKSIDE_HOME=….",
        )
    house = House(found)
    try:
        yield house
    finally:
        await house.close()
