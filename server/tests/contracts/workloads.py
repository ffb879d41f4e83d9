"""Workloads for tests of whatever runs containers, and waiting for what becomes of them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest

from trackside.adapters.memory.runtime import Behaviour
from trackside.rooms.deployments.model import (
    Limits,
    Network,
    RestartPolicy,
    Role,
    SeenReplica,
    SeenState,
    Workload,
)
from trackside.rooms.deployments.ports import Runtime

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
HOSTS = count(10)
SECONDS = 20.0


@dataclass(frozen=True)
class App:
    image_id: str
    argv: tuple[str, ...] | None = None


MakeApp = Callable[[Behaviour], App]


def a_workload(app: App, subnet: IPv4Network, **changes: Any) -> Workload:
    values: dict[str, Any] = {
        "workspace_id": uuid4(),
        "project_id": uuid4(),
        "environment_id": uuid4(),
        "service_id": uuid4(),
        "service_instance_id": uuid4(),
        "deployment_id": uuid4(),
        "replica_id": uuid4(),
        "role": Role.REPLICA,
        "image_id": app.image_id,
        "argv": app.argv,
        "is_entrypoint_replaced": True,
        "user": None,
        "variables": {"PORT": "8080"},
        "address": subnet[next(HOSTS) % 200 + 10],
        "restart": RestartPolicy.NEVER,
        "max_restarts": 0,
        "limits": Limits(cpu=1.0, memory_bytes=64 << 20, pids=64),
        "capabilities": CAPABILITIES,
    } | changes
    values.setdefault("network", Network(values["environment_id"], subnet))
    return Workload(**values)


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The condition's first true value; fails the test when it does not come."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while not (value := await condition()):
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"{what} did not happen within {SECONDS} s")
        await asyncio.sleep(0.02)
    return value


async def see(runtime: Runtime, workload: Workload) -> SeenReplica | None:
    seen = await runtime.observe(workload.service_instance_id)
    return next((replica for replica in seen if replica.replica_id == workload.replica_id), None)


async def until_state(runtime: Runtime, workload: Workload, state: SeenState) -> SeenReplica:
    async def is_so() -> SeenReplica | None:
        replica = await see(runtime, workload)
        return replica if replica and replica.state is state else None

    return await until(is_so, f"state {state}")


async def log(runtime: Runtime, replica_id: UUID) -> list[tuple[str, str]]:
    return [(stream, line) async for _, stream, line in runtime.logs(replica_id, None, follow=False)]


async def until_logged(runtime: Runtime, workload: Workload, line: str) -> None:
    async def is_so() -> bool:
        return line in [text for _, text in await log(runtime, workload.replica_id)]

    await until(is_so, f"the log line {line!r}")
