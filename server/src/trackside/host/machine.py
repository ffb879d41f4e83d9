"""One installation's parts, joined: what the start, the stop, the status and the doctor act on."""

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from trackside.host.address_plan import bridge_of_builds
from trackside.host.answering import Door, Language
from trackside.host.bridges import network_cards
from trackside.host.builds import BuildEnginePlan, build_cores, build_cpu
from trackside.host.engine_config import EnginePlan
from trackside.host.firewall_rules import FirewallPlan
from trackside.host.installation import Installation
from trackside.host.launch import Launch
from trackside.host.layout import Layout
from trackside.host.postgres import PostgresPaths
from trackside.host.processes import descriptors
from trackside.host.shares import group_of
from trackside.host.spawning import launch_argv
from trackside.host.supervisor_config import ManagedProcess, SupervisorPlan, fingerprint

PARTS = ("postgres", "containerd", "engine", "build-engine", "watchdog")
WATCHER = "watcher"
PLATFORM_PROCESSES = ("gateway", "deployer", "builder", "monitor", "haproxy", "edge")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY")
PASSED_ON = (*PROXIES, "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ", "LANG")
"""What the platform's processes get of the environment it was started in, besides settings (`TRACKSIDE_…`)."""
NOT_PASSED_ON = frozenset(
    f"TRACKSIDE_{name}"
    for name in (
        *("TOKEN", "API_URL", "HOME", "INSTALLATION", "API_PORT", "EDGE_PORT", "ENGINE_URL"),
        *("NETWORK_POOL", "BUILD_NETWORK"),
    )
)


@dataclass(frozen=True)
class MachineOptions:
    """The settings that the machine's parts depend on; sizes in bytes, CPU in cores (0 = half of the machine).

    `hang_seconds`: of silence, after which a part is taken for hanging (0 = never).
    """

    api_host: str = "127.0.0.1"
    edge_host: str = "127.0.0.1"
    build_cpu: float = 0.0
    build_memory_bytes: int = 4 << 30
    build_disk_bytes: int = 20 << 30
    registry_mirror: str = ""
    insecure_registry: str = ""
    drop_private: bool = False
    hang_seconds: int = 30
    haproxy: tuple[str, ...] = ()  # what Python is given to become HAProxy
    processes: tuple[str, ...] = PLATFORM_PROCESSES


def named_services(registry_mirror: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The mirror and the proxies, as they are written in the settings and in the environment."""
    proxies = [value for name, value in environment.items() if name.upper() in PROXIES]
    return tuple(text for text in (registry_mirror, *proxies) if text)


@dataclass(frozen=True)
class Machine:
    """An installation on this machine, as plain values; `environment` is that of the command that was given."""

    layout: Layout
    installation: Installation
    options: MachineOptions = field(default_factory=MachineOptions)
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def postgres_paths(self) -> PostgresPaths:
        layout = self.layout
        return PostgresPaths(layout.postgres_data, layout.postgres_run, layout.keys, layout.register)

    def firewall_plan(self, *, close_uplinks: bool) -> FirewallPlan:
        return FirewallPlan(
            table=self.layout.firewall_table,
            interface_prefix=self.installation.interface_prefix,
            network_pool=self.installation.network_pool,
            build_network=self.installation.build_network,
            closed_uplinks=network_cards() if close_uplinks else (),
            drop_private=self.options.drop_private,
        )

    @property
    def engine_plan(self) -> EnginePlan:
        return EnginePlan(
            name="trackside-apps",
            data=self.layout.data / "engine",
            run=self.layout.run / "engine",
            socket=self.layout.engine_socket,
            containerd_socket=self.layout.containerd_socket,
            control_group=self.layout.apps_group,
            insecure_registry=self.options.insecure_registry,
        )

    @property
    def build_plan(self) -> BuildEnginePlan:
        cpu = build_cpu(self.options.build_cpu)
        return BuildEnginePlan(
            data=self.layout.build_disk,
            disk_file=self.layout.build_disk_file,
            run=self.layout.run / "build-engine",
            socket=self.layout.build_engine_socket,
            containerd_socket=self.layout.containerd_socket,
            group=self.layout.build_group,
            bridge=bridge_of_builds(self.installation.interface_prefix),
            network=self.installation.build_network,
            cpu=cpu,
            cores=build_cores(cpu, os.sched_getaffinity(0)),
            memory_bytes=self.options.build_memory_bytes,
            disk_bytes=self.options.build_disk_bytes,
            insecure_registry=self.options.insecure_registry,
        )

    @property
    def doors(self) -> tuple[Door, ...]:
        """Where the parts answer that others stand on."""
        layout = self.layout
        return (
            Door("postgres", Language.POSTGRES, str(layout.postgres_run / ".s.PGSQL.5432")),
            Door("containerd", Language.HTTP2, str(layout.containerd_socket)),
            Door("engine", Language.HTTP, str(layout.engine_socket)),
            Door("build-engine", Language.HTTP, str(layout.build_engine_socket)),
        )

    def watchdog_launch(self, names: Collection[str]) -> Launch:
        """How the watchdog over these parts is started."""
        doors = (str(door) for door in self.doors if door.name in names)
        argv = (sys.executable, "-m", "trackside.host.watchdog", str(self.options.hang_seconds), *doors)
        return Launch(argv=argv)

    @property
    def services_of_build_engine(self) -> tuple[str, ...]:
        """Where the settings send the build engine."""
        return named_services(self.options.registry_mirror, self.environment)

    def supervisor_plan(self, launches: Mapping[str, Launch]) -> SupervisorPlan:
        """The supervisor's plan with these parts, the platform's own processes, and its watcher."""
        parts = [self._part(name, launch) for name, launch in launches.items()]
        parts.append(self._part(WATCHER, self.watcher_launch))
        return SupervisorPlan(
            socket=self.layout.supervisor_socket,
            pid_file=self.layout.supervisor_pid_file,
            directory=self.layout.home,
            logs=self.layout.logs,
            locks=self.layout.locks,
            alive=self.layout.alive_file,
            share=self.layout.working_group,
            descriptors=descriptors(),
            processes=[*parts, *map(self._platform_process, self.options.processes)],
        )

    def process_environment(self) -> dict[str, str]:
        """What the supervisor and all its processes are given: the mark by which a stop knows them, among others."""
        passed = {name: value for name, value in self.environment.items() if name.upper() in PASSED_ON}
        return {
            **passed,
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONUNBUFFERED": "1",
            "TRACKSIDE_HOME": str(self.layout.home),
            "TRACKSIDE_INSTALLATION": self.layout.installation,
        }

    def _part(self, name: str, launch: Launch) -> ManagedProcess:
        signals = {
            "postgres": ("INT", 30),
            "engine": ("TERM", 30),
            "build-engine": ("TERM", 30),
        }
        stop_signal, seconds = signals.get(name, ("TERM", 15))
        return ManagedProcess(
            name=name,
            argv=self._launch_argv(name),
            stop_signal=stop_signal,
            stop_seconds=seconds,
            fingerprint=fingerprint(launch.as_json()),
        )

    def supervised(self, name: str, launch: Launch) -> Launch:
        """A part as the supervisor starts it: once at a time, with a log that outlives the supervisor, with its share."""
        share = "" if launch.control_group else group_of(self.layout, name)
        lock, log = str(self.layout.locks / name), str(self.layout.logs / f"{name}.log")
        return replace(launch, lock=lock, log=log, share=share)

    @property
    def watcher_launch(self) -> Launch:
        """It waits on for a predecessor that has not ended yet when their supervisor is killed: it brings the next one up."""
        argv = (sys.executable, "-m", "trackside.host.watcher", str(self.layout.watch_file))
        return Launch(argv=argv, waits_on=True)

    def platform_launch(self, name: str) -> Launch:
        """How a process of the platform is started. Settings given as variables go along in a file, whatever is in them.

        HAProxy has all it is told on its command line.
        """
        if name == "haproxy":
            return Launch(argv=(sys.executable, *self.options.haproxy))
        return Launch(argv=(sys.executable, "-m", "trackside", "run", name), environment=self._named_settings())

    def _platform_process(self, name: str) -> ManagedProcess:
        """HAProxy alone is started anew only for what is on its command line: requests are lost with it. It is another program by
        then, so which version's Python led to it is no reason either.
        """
        settings, launch = self.layout.settings_file, self.platform_launch(name)
        stored = settings.read_text(encoding="utf-8") if settings.exists() else ""
        is_proxy = name == "haproxy"
        return ManagedProcess(
            name=name,
            argv=self._launch_argv(name),
            stop_seconds=10 if is_proxy else 30,
            fingerprint=fingerprint(*launch.argv[1:]) if is_proxy else fingerprint(launch.as_json(), stored),
        )

    def _launch_argv(self, name: str) -> tuple[str, ...]:
        """By way of the link to the current version, so that a part whose launch did not change runs on through an upgrade."""
        return launch_argv(self.launch_file(name), self.layout.current / "bin" / "python")

    def _named_settings(self) -> dict[str, str]:
        """Settings given as variables; those that the installation stores, and the command line's own, apart."""
        return {
            name: value
            for name, value in self.environment.items()
            if name.startswith("TRACKSIDE_") and name not in NOT_PASSED_ON
        }

    def launch_file(self, name: str) -> Path:
        return self.layout.launches / f"{name}.json"
