"""What must be true when nothing happens any more: database, engine, edge and event log say the same."""

from typing import Any

import httpx

from e2e.conftest import until
from survival.world import END_STATES, World


def assert_true(world: World) -> None:
    """Wait until all say the same; fails with what differs."""
    until(lambda: not differences(world), 45, lambda: differences(world))


def differences(world: World) -> list[str]:
    """What the API, the engine and the edge do not agree on; empty when all is true."""
    instances = [
        instance
        for project in world.get("/v1/projects")["projects"]
        for environment in (world.get(f"/v1/projects/{project['id']}") or {"environments": []})["environments"]
        for instance in environment["service_instances"]
    ]
    return [*unsettled(instances), *strangers(world, instances), *wrong_answers(world, instances)]


def unsettled(instances: list[dict[str, Any]]) -> list[str]:
    newest = [instance["latest_deployment"] for instance in instances if instance["latest_deployment"]]
    return [f"{one['id']} is still {one['status']}" for one in newest if one["status"] not in END_STATES]


def strangers(world: World, instances: list[dict[str, Any]]) -> list[str]:
    """Containers without a replica on record, and replicas on record without a container."""
    wanted = {
        r["id"] for instance in instances for r in (instance["active_deployment"] or {"replicas": []})["replicas"]
    }
    found = world.containers()
    return [
        *(f"orphan container {one}" for one in found - wanted),
        *(f"no container of {one}" for one in wanted - found),
    ]


def wrong_answers(world: World, instances: list[dict[str, Any]]) -> list[str]:
    """Service instances that should serve and don't, or are answered by a replica of another one."""
    wrong: list[str] = []
    for instance in instances:
        active = instance["active_deployment"]
        if not active or active["status"] != "SUCCESS":
            continue
        url = f"http://127.0.0.1:{world.platform.edge_port}/replica"
        try:
            said = httpx.get(url, headers={"Host": instance["host"]}, timeout=10, trust_env=False).text
        except httpx.TransportError as error:
            said = str(error)
        if said not in {replica["id"] for replica in active["replicas"]}:
            wrong.append(f"{instance['host']} answers {said[:80]!r}")
    return wrong
