"""What the engine is told and what it answers, as pure functions: workload → container body, inspection → seen replica.

Nothing here calls the engine; the texts are golden-tested.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID

from trackside.rooms.deployments.errors import RuntimeRefused
from trackside.rooms.deployments.model import Network, RestartPolicy, Role, SeenReplica, SeenState, Workload

LABEL = "dev.trackside."
INTERFACE_NAME_LENGTH = 15
LONGEST_VARIABLE = 128 << 10  # MAX_ARG_STRLEN: with its name, "=" and the NUL at its end
MINIMUM_LOG_FILE_BYTES = 1 << 20

Json = dict[str, Any]

STATES = {
    "created": SeenState.CREATED,
    "running": SeenState.RUNNING,
    "paused": SeenState.RUNNING,
    "restarting": SeenState.RESTARTING,
    "removing": SeenState.EXITED,
    "exited": SeenState.EXITED,
    "dead": SeenState.EXITED,
}


COMES_UP = timedelta(minutes=10)
"""So long after the platform an engine may come up, and find dead what it had left running."""


@dataclass(frozen=True)
class Downtime:
    """When the machine was down: from the last moment in which the platform is known to have run."""

    began: datetime
    ended: datetime


@dataclass(frozen=True)
class DockerOptions:
    """How containers and networks are made here.

    `interface_prefix`: first letters of our bridges' names (at most 6). `log_files`: files a container's log rotates
    through. `open_files`: most files a container may hold open, at most the engine's own limit; 0 = as the engine.
    `out_of_memory_score`: how much sooner than the platform's own processes an app is chosen when the machine runs out of
    memory (0 to 1000). `downtime`: when the machine was down last; what it cut off did not end by itself.
    """

    interface_prefix: str = "ts"
    log_files: int = 5
    open_files: int = 0
    out_of_memory_score: int = 500
    downtime: Downtime | None = None


def container_name(installation: str, replica_id: UUID) -> str:
    """The container's name; a UUIDv7 is random only at its end."""
    return f"ts-{installation}-{replica_id.hex[-12:]}"


def network_name(installation: str, environment_id: UUID) -> str:
    return f"ts-{installation}-{environment_id.hex[-12:]}"


def interface_name(prefix: str, environment_id: UUID) -> str:
    """The bridge's name on the host, within the kernel's 15 letters."""
    return prefix + environment_id.hex[-(INTERFACE_NAME_LENGTH - len(prefix)) :]


def container_labels(workload: Workload, installation: str) -> dict[str, str]:
    return {
        f"{LABEL}installation": installation,
        f"{LABEL}workspace": str(workload.workspace_id),
        f"{LABEL}project": str(workload.project_id),
        f"{LABEL}environment": str(workload.environment_id),
        f"{LABEL}service": str(workload.service_id),
        f"{LABEL}service-instance": str(workload.service_instance_id),
        f"{LABEL}deployment": str(workload.deployment_id),
        f"{LABEL}replica": str(workload.replica_id),
        f"{LABEL}role": workload.role.value,
    }


def label_filter(installation: str, **labels: UUID) -> dict[str, list[str]]:
    """The engine's list filter for what is ours, e.g. `label_filter(i, service_instance=id)`."""
    wanted = [f"{LABEL}{name.replace('_', '-')}={value}" for name, value in labels.items()]
    return {"label": [f"{LABEL}installation={installation}", *wanted]}


def container_body(workload: Workload, installation: str, options: DockerOptions, cores: int) -> Json:
    """The body of the engine's create call. `cores`: how many the engine's machine has; it refuses more than that."""
    name = network_name(installation, workload.network.environment_id)
    return {
        "Image": workload.image_id,
        **command(workload),
        **({} if workload.user is None else {"User": workload.user}),
        "Env": environment(workload.variables),
        "Labels": container_labels(workload, installation),
        "Tty": False,
        "OpenStdin": False,
        "Healthcheck": {"Test": ["NONE"]},  # health is our prober's matter; the image's own would only cost
        "HostConfig": host_config(workload, name, options, cores),
        "NetworkingConfig": {"EndpointsConfig": {name: {"IPAMConfig": {"IPv4Address": str(workload.address)}}}},
    }


def command(workload: Workload) -> Json:
    if workload.argv is None:
        return {}
    if workload.is_entrypoint_replaced:
        return {"Entrypoint": list(workload.argv), "Cmd": []}
    return {"Cmd": list(workload.argv)}


def environment(variables: Mapping[str, str]) -> list[str]:
    """`NAME=value` as given, byte for byte. Raises `RuntimeRefused` for what no process can be given."""
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name:
            raise RuntimeRefused(f"{name!r} can't be the name of a variable.")
        if "\0" in value:
            raise RuntimeRefused(f"The value of {name} contains a NUL byte, which no process can be given.")
        if len(name.encode()) + len(value.encode(errors="replace")) + 2 > LONGEST_VARIABLE:
            raise RuntimeRefused(f"The value of {name} is longer than the kernel gives a process (128 KiB).")
    return [f"{name}={value}" for name, value in variables.items()]


def host_config(workload: Workload, network: str, options: DockerOptions, cores: int) -> Json:
    limits = workload.limits
    return {
        "NetworkMode": network,
        "Dns": [str(workload.network.gateway)],
        "DnsOptions": [],
        "DnsSearch": [],
        "PortBindings": {},
        "PublishAllPorts": False,
        "Privileged": False,
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": ["ALL"],
        "CapAdd": list(workload.capabilities),
        "NanoCpus": int(min(limits.cpu, cores) * 1_000_000_000),
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,  # equal to memory: no swap
        "PidsLimit": limits.pids,
        "ShmSize": limits.shm_bytes,
        "OomScoreAdj": options.out_of_memory_score,
        "Ulimits": ulimits(options.open_files),
        "Init": False,  # signals go to the app itself
        "IpcMode": "private",
        "RestartPolicy": restart_policy(workload),
        "LogConfig": {
            "Type": "json-file",
            "Config": {
                "max-size": str(max(limits.log_bytes // options.log_files, MINIMUM_LOG_FILE_BYTES)),
                "max-file": str(options.log_files),
            },
        },
    }


def ulimits(open_files: int) -> list[Json]:
    limits = {"core": 0} | ({"nofile": open_files} if open_files else {})
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in limits.items()]


def restart_policy(workload: Workload) -> Json:
    """`always` would bring a terminated container back when the engine restarts; `unless-stopped` does not."""
    if workload.role is Role.PRE_DEPLOY or workload.restart is RestartPolicy.NEVER:
        return NO_RESTART
    if workload.restart is RestartPolicy.ALWAYS:
        return {"Name": "unless-stopped", "MaximumRetryCount": 0}
    if workload.max_restarts < 1:  # the engine would read 0 as "without limit"
        return NO_RESTART
    return {"Name": "on-failure", "MaximumRetryCount": workload.max_restarts}


NO_RESTART: Json = {"Name": "no", "MaximumRetryCount": 0}


def network_body(network: Network, installation: str, options: DockerOptions) -> Json:
    """The body of the engine's network create call."""
    return {
        "Name": network_name(installation, network.environment_id),
        "CheckDuplicate": True,
        "Driver": "bridge",
        "EnableIPv6": False,
        "Internal": False,
        "Attachable": False,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": str(network.subnet), "Gateway": str(network.gateway)}]},
        "Options": {
            "com.docker.network.bridge.name": interface_name(options.interface_prefix, network.environment_id),
            "com.docker.network.bridge.enable_icc": "true",
        },
        "Labels": {
            f"{LABEL}installation": installation,
            f"{LABEL}environment": str(network.environment_id),
        },
    }


def seen_network(inspection: Mapping[str, Any]) -> Network | None:
    """The network an inspection shows; None for one without our labels or without an IPv4 subnet."""
    environment_id = label_id(part(inspection, "Labels"), "environment")
    configurations: list[Json] = part(inspection, "IPAM").get("Config") or []
    for configuration in configurations:
        subnet = str(configuration.get("Subnet", ""))
        if environment_id is not None and "." in subnet:
            return Network(environment_id, IPv4Network(subnet))
    return None


def seen_replica(
    inspection: Mapping[str, Any],
    listening: tuple[tuple[int, ...], tuple[int, ...]] = ((), ()),
    downtime: Downtime | None = None,
) -> SeenReplica | None:
    """The replica an inspection shows; None for a container without our labels."""
    state = inspection["State"]
    seen = STATES.get(str(state["Status"]), SeenState.EXITED)
    started_at = engine_time(str(state["StartedAt"]))
    ended_at = engine_time(str(state["FinishedAt"])) if seen is SeenState.EXITED else None
    replica = labelled_replica(part(part(inspection, "Config"), "Labels"), seen)
    return replica and replace(
        replica,
        address=seen_address(inspection),
        exit_code=exit_code(seen, int(state["ExitCode"])),
        is_out_of_memory=bool(state["OOMKilled"]),
        restarts=int(inspection.get("RestartCount") or 0),
        started_at=started_at,
        ended_at=ended_at,
        is_cut_off=was_cut_off(started_at, ended_at, downtime),
        listening=listening[0],
        listening_loopback=listening[1],
    )


def was_cut_off(started_at: datetime | None, ended_at: datetime | None, downtime: Downtime | None) -> bool:
    """Whether the machine went down under it. In order, it ends by the signal that everybody gets then, or is found dead by an engine
    that comes up, and that may be before or after the platform.
    """
    if not (started_at and ended_at and downtime):
        return False
    return started_at < downtime.ended and downtime.began <= ended_at <= downtime.ended + COMES_UP


def listed_replica(labels: Mapping[str, str] | None, network: Mapping[str, Any]) -> SeenReplica | None:
    """The running replica that the engine's list shows, which tells less; None for a container without our labels."""
    replica = labelled_replica(labels or {}, SeenState.RUNNING)
    return replica and replace(replica, address=seen_address({"NetworkSettings": network}))


def labelled_replica(labels: Mapping[str, str], seen: SeenState) -> SeenReplica | None:
    """What a container's labels tell of the replica it is; None where they are not ours."""
    ids = [label_id(labels, name) for name in ("replica", "deployment", "service-instance", "workspace")]
    replica_id, deployment_id, service_instance_id, workspace_id = ids
    if replica_id is None or deployment_id is None or service_instance_id is None or workspace_id is None:
        return None
    return SeenReplica(
        replica_id=replica_id,
        deployment_id=deployment_id,
        service_instance_id=service_instance_id,
        workspace_id=workspace_id,
        role=Role(labels.get(f"{LABEL}role", Role.REPLICA)),
        state=seen,
        address=None,
        exit_code=None,
        is_out_of_memory=False,
        restarts=0,
        started_at=None,
    )


def exit_code(state: SeenState, reported: int) -> int | None:
    """The engine says 0 while a container runs; a container that could not even start is `created` with a code."""
    if state is SeenState.RUNNING or (state is SeenState.CREATED and reported == 0):
        return None
    return reported


def seen_address(inspection: Mapping[str, Any]) -> IPv4Address | None:
    """The address the container has, or will have again at its next start."""
    networks = part(part(inspection, "NetworkSettings"), "Networks")
    for endpoint in (part(networks, name) for name in networks):
        text = endpoint.get("IPAddress") or part(endpoint, "IPAMConfig").get("IPv4Address")
        if text:
            return IPv4Address(text)
    return None


def part(document: Mapping[str, Any], name: str) -> Json:
    """An object within the engine's answer; the engine writes null for an empty one."""
    return document.get(name) or {}


def label_id(labels: Mapping[str, str], name: str) -> UUID | None:
    try:
        return UUID(labels.get(LABEL + name, ""))
    except ValueError:
        return None


def event_ids(event: Mapping[str, Any]) -> tuple[UUID, UUID] | None:
    """(workspace, service instance) of a container event."""
    attributes = part(part(event, "Actor"), "Attributes")
    workspace_id, service_instance_id = label_id(attributes, "workspace"), label_id(attributes, "service-instance")
    if workspace_id is None or service_instance_id is None:
        return None
    return workspace_id, service_instance_id


def engine_time(text: str) -> datetime | None:
    """The engine's RFC 3339 time in nanoseconds, cut to microseconds; None for its zero time."""
    if text.startswith("0001-"):
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}").replace(tzinfo=UTC)


def after(moment: datetime) -> str:
    """The engine's `since`, which includes its very moment, for "strictly after" a moment in microseconds."""
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + 1
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{seconds}.{rest:06d}000"


def whole_seconds(grace: float) -> int:
    """The engine counts a grace in whole seconds: never less than was asked for."""
    return max(0, math.ceil(grace))


LOOPBACK_V6 = "00000000000000000000000001000000"
MAPPED_V4 = "0000000000000000FFFF0000"
ENGINE_RESOLVER = "0B00007F"  # 127.0.0.11, where the engine itself listens inside every container
LISTENS = "0A"


def listening_ports(tables: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(ports reached from outside the container, ports on its loopback), from `/proc/<pid>/net/tcp` and `tcp6`."""
    outside: set[int] = set()
    loopback: set[int] = set()
    for row in tables.splitlines():
        fields = row.split(maxsplit=4)
        if len(fields) < 4 or fields[3] != LISTENS:
            continue
        address, _, port = fields[1].rpartition(":")
        address = address.removeprefix(MAPPED_V4)
        if address == ENGINE_RESOLVER:
            continue
        is_loopback = address == LOOPBACK_V6 or (len(address) == 8 and address.endswith("7F"))
        (loopback if is_loopback else outside).add(int(port, 16))
    return tuple(sorted(outside)), tuple(sorted(loopback))
