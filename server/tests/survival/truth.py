"""What must be true when nothing happens any more: database, engine, edge and event log say the same."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from e2e.conftest import until
from survival.world import END_STATES, World
from trackside.adapters.proxy.config import HOSTS, TARGETS, slot_number
from trackside.adapters.proxy.haproxy import READ_SERVERS
from trackside.adapters.proxy.runtime import RuntimeSocket, SeenServer, parse_map, parse_servers
from trackside.rooms.networking.errors import ProxyUnavailable

Instance = dict[str, Any]
ACTIVE = {"SUCCESS", "CRASHED"}


def assert_true(world: World) -> None:
    """Wait until all say the same; fails with what differs."""
    until(lambda: not differences(world), 45, lambda: differences(world))


def differences(world: World) -> list[str]:
    """What the API, the engine and the edge do not agree on; empty when all is true."""
    projects = [world.get(f"/v1/projects/{project['id']}") for project in world.get("/v1/projects")["projects"]]
    environments = [environment for project in projects if project for environment in project["environments"]]
    instances = [instance for environment in environments for instance in environment["service_instances"]]
    return [
        *(wrong for instance in instances for wrong in false_records(world, instance)),
        *strangers(world, instances),
        *wrong_networks(world, {environment["id"] for environment in environments}),
        *wrong_edge(world, instances),
        *wrong_answers(world, instances),
    ]


def false_records(world: World, instance: Instance) -> list[str]:
    """Deployments of which the record is not, or can't be, the last word."""
    answer = world.get(f"/v1/service-instances/{instance['id']}/deployments?limit=500")
    found: list[dict[str, Any]] = answer["deployments"] if answer else []
    active = instance["active_deployment"] or {"id": None}
    return [
        *(f"{one['id']} stays {one['status']}" for one in found if one["status"] not in END_STATES),
        *(
            f"{one['id']} is {one['status']} and is not the active one, {active['id']}"
            for one in found
            if one["status"] in ACTIVE and one["id"] != active["id"]
        ),
    ]


def serves(instance: Instance) -> bool:
    """Whether requests to its host name must be answered."""
    active = instance["active_deployment"]
    return bool(instance["host"] and active and active["status"] == "SUCCESS")


def replicas_of(instance: Instance) -> set[str]:
    """The replicas on record of what is active."""
    active: dict[str, Any] = instance["active_deployment"] or {"replicas": []}
    return {str(replica["id"]) for replica in active["replicas"]}


def strangers(world: World, instances: Sequence[Instance]) -> list[str]:
    """Containers without a replica on record, and replicas on record without a container."""
    wanted = {replica for instance in instances for replica in replicas_of(instance)}
    found = world.containers()
    return [
        *(f"orphan container {one}" for one in found - wanted),
        *(f"no container of {one}" for one in wanted - found),
    ]


def wrong_networks(world: World, environments: set[str]) -> list[str]:
    """Networks of environments that are gone."""
    return [f"network of the unknown environment {one}" for one in world.environments_with_networks() - environments]


@dataclass(frozen=True)
class Edge:
    """What HAProxy holds."""

    hosts: dict[str, str]
    targets: dict[str, str]
    servers: list[SeenServer]


def read_edge(world: World) -> Edge:
    """Ask the running HAProxy itself."""
    socket = RuntimeSocket(world.layout.run / "haproxy" / "runtime.sock")
    hosts, targets, servers = asyncio.run(socket.run([f"show map {HOSTS}", f"show map {TARGETS}", READ_SERVERS[0]]))
    return Edge(parse_map(hosts), parse_map(targets), parse_servers(servers))


def wrong_edge(world: World, instances: Sequence[Instance]) -> list[str]:
    """Host names that lead astray, servers of nobody, and replicas that get no requests though they should."""
    try:
        edge = read_edge(world)
    except ProxyUnavailable as error:
        return [str(error)]
    hosts = {instance["host"]: instance["id"] for instance in instances if instance["host"]}
    known = {replica for instance in instances for replica in replicas_of(instance)}
    servers = {one.name for one in edge.servers if slot_number(one.backend) is not None}
    return [
        *(f"{host} leads to {to}" for host, to in edge.hosts.items() if hosts.get(host) != to),
        *(f"HAProxy has the server {one} of nobody" for one in servers - known),
        *(wrong for instance in filter(serves, instances) for wrong in wrong_servers(edge, instance)),
    ]


def wrong_servers(edge: Edge, instance: Instance) -> list[str]:
    """Replicas to which the host name of what serves does not lead, or others to which it does."""
    target = edge.targets.get(instance["id"], "")
    taking = {one.name for one in edge.servers if one.backend == target and not one.is_closed}
    return [] if taking == replicas_of(instance) else [f"{instance['host']} leads by {target} to {taking}"]


def wrong_answers(world: World, instances: Sequence[Instance]) -> list[str]:
    """Service instances that should serve and don't, or are answered by a replica of another one."""
    wrong: list[str] = []
    for instance in filter(serves, instances):
        url = f"http://127.0.0.1:{world.platform.edge_port}/replica"
        try:
            said = httpx.get(url, headers={"Host": instance["host"]}, timeout=10, trust_env=False).text
        except httpx.TransportError as error:
            said = str(error)
        if said not in replicas_of(instance):
            wrong.append(f"{instance['host']} answers {said[:80]!r}")
    return wrong
