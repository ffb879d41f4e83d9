"""The timer's look at ten thousand idle services: real rows in a PostgreSQL of its own, containers in the runtime's twin.

Rows and containers are made from numbers, not by ten thousand deployments; the look itself is the deployer's own.
"""

import asyncio
import hashlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from trackside import bootstrap
from trackside.adapters.memory.runtime import MemoryRuntime
from trackside.entry.admin import database as admin
from trackside.host.installation import APP_ROLE, OWNER_ROLE, make_keys
from trackside.host.layout import REGISTER, Layout
from trackside.host.postgres import Postgres, PostgresPaths
from trackside.kit.db import Transaction, schema_of
from trackside.rooms.deployments.model import Limits, Network, RestartPolicy, Role, SeenReplica, Workload
from trackside.rooms.identity import service as identity

SERVICES = 10_000
LOOKS = 5
POOL = IPv4Network("10.64.0.0/16")
SEED = (
    "INSERT INTO platform.due SELECT md5('instance' || n)::uuid, :workspace FROM generate_series(1, :count) n",
    """INSERT INTO tenant.deployments (id, service_instance_id, status, trigger, source, config_version, settings, build,
        variables, image, port, wanted_replicas, steps, has_served, created_at, updated_at, version)
    SELECT md5('deployment' || n)::uuid, md5('instance' || n)::uuid, 'SUCCESS', 'deploy',
        '{"kind": "image", "reference": "app:1"}', 1, '{"start_command": "serve", "healthcheck_path": "/health"}', '{}',
        (SELECT jsonb_object_agg('VARIABLE_' || v, md5('v' || v)::uuid) FROM generate_series(1, 10) v),
        '{"image_id": "sha256:app", "exposed_ports": [8080], "expects_port": true}', 8080, 1,
        (SELECT jsonb_agg(jsonb_build_object('name', step, 'started_at', now(), 'completed_at', now(), 'error', NULL,
            'is_skipped', false)) FROM unnest(CAST(:steps AS text[])) step), true, now(), now(), n
    FROM generate_series(1, :count) n""",
    """INSERT INTO tenant.replicas (id, deployment_id, role, ordinal, address, status, detail, restarts, created_at)
    SELECT md5('replica' || n)::uuid, md5('deployment' || n)::uuid, 'replica', 0, host(inet '10.64.0.0' + n), 'RUNNING', '', 0,
        now() FROM generate_series(1, :count) n""",
    """INSERT INTO platform.backends (deployment_id, workspace_id, service_instance_id, environment_id, service_name, slot,
        servers, probe, protocol, revision)
    SELECT md5('deployment' || n)::uuid, :workspace, md5('instance' || n)::uuid, md5('environment')::uuid, 'app', n,
        jsonb_build_array(jsonb_build_object('replica_id', md5('replica' || n)::uuid, 'address', host(inet '10.64.0.0' + n),
            'port', 8080, 'is_leaving', false)),
        '{"kind": "http", "path": "/health", "timeout": 5, "interval": 5}', 'http1', n FROM generate_series(1, :count) n""",
    """INSERT INTO platform.backend_reports (deployment_id, workspace_id, revision, health, open_requests, open_by_replica, at)
    SELECT md5('deployment' || n)::uuid, :workspace, n, jsonb_build_object(md5('replica' || n)::uuid, jsonb_build_object(
            'is_healthy', true, 'detail', '200 OK', 'since', now(), 'well_until', NULL)), 0, '{}', now()
    FROM generate_series(1, :count) n""",
    """INSERT INTO platform.routes (service_instance_id, workspace_id, slot, deployment_id, revision)
    SELECT md5('instance' || n)::uuid, :workspace, n, md5('deployment' || n)::uuid, n FROM generate_series(1, :count) n""",
    """INSERT INTO platform.route_reports (service_instance_id, workspace_id, revision, at)
    SELECT md5('instance' || n)::uuid, :workspace, n, now() FROM generate_series(1, :count) n""",
)
STEPS = ["CREATE_CONTAINER", "HEALTHCHECK", "CONFIGURE_NETWORK", "DRAIN_INSTANCES"]


@dataclass(frozen=True)
class Planner:
    """Seconds of each look at all services; `restless` of them were found to need work; the engine was listed so often."""

    services: int
    looks: Sequence[float]
    restless: int
    listings: int


class CountedRuntime(MemoryRuntime):
    """Counts how often the engine is asked what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.listings = 0

    async def observe(self, service_instance_id: UUID) -> Sequence[SeenReplica]:
        self.listings += 1
        return await super().observe(service_instance_id)

    async def observe_all(self) -> Sequence[SeenReplica]:
        self.listings += 1
        return await super().observe_all()


async def planner(services: int = SERVICES) -> Planner:
    """Look at all of them some times. Errors: `PartFailed` where PostgreSQL does not come up."""
    async with _house() as house:
        runtime = CountedRuntime()
        async with house.database.transaction() as tx:
            workspace_id = (await identity.workspace_named(tx, "default")).id
        async with house.database.transaction(workspace_id) as tx:
            await _seed(tx, workspace_id, services)
        for number in range(1, services + 1):
            await runtime.start(_workload(workspace_id, number))
        engine, looks = house.engine(runtime), list[float]()
        restless = 0
        for _ in range(LOOKS):
            began = time.perf_counter()
            restless = len(await engine.restless())
            looks.append(time.perf_counter() - began)
        await runtime.close()
        return Planner(services, looks, restless, runtime.listings // LOOKS)


async def _seed(tx: Transaction, workspace_id: UUID, count: int) -> None:
    values: dict[str, Any] = {"workspace": workspace_id, "count": count, "steps": STEPS}
    for statement in SEED:
        named = text(statement.replace("tenant.", f"{schema_of(workspace_id)}."))
        await tx.connection.execute(named, {k: v for k, v in values.items() if f":{k}" in statement})


def _id(kind: str, number: int) -> UUID:
    """As the rows have it."""
    return UUID(hashlib.md5(f"{kind}{number or ''}".encode(), usedforsecurity=False).hexdigest())


def _workload(workspace_id: UUID, number: int) -> Workload:
    return Workload(
        workspace_id=workspace_id,
        project_id=workspace_id,
        environment_id=_id("environment", 0),
        service_id=_id("instance", number),
        service_instance_id=_id("instance", number),
        deployment_id=_id("deployment", number),
        replica_id=_id("replica", number),
        role=Role.REPLICA,
        image_id="sha256:app",
        argv=None,
        is_entrypoint_replaced=False,
        user=None,
        variables={},
        network=Network(_id("environment", 0), POOL),
        address=POOL[number],
        restart=RestartPolicy.ON_FAILURE,
        max_restarts=10,
        limits=Limits(),
        capabilities=(),
    )


@asynccontextmanager
async def _house() -> AsyncGenerator[bootstrap.House]:
    """The parts of a platform on a database of its own, which go away afterwards."""
    root = Path(tempfile.mkdtemp(prefix="trackside-bench-", dir="/var/lib"))
    root.chmod(0o711)  # PostgreSQL runs as another user and must be able to pass through
    layout = Layout(installation="benchben", home=root / "home", data=root / "data", run=root / "run")
    make_keys(layout)
    postgres = Postgres(PostgresPaths(layout.postgres_data, layout.postgres_run, layout.keys, REGISTER))
    order = root / "launch.json"
    order.write_text((await postgres.prepare()).as_json())
    with (root / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trackside.host.launch", str(order)), stdout=log, stderr=log
        )
    try:
        await postgres.wait_until_ready()
        await postgres.ensure_database()
        url, owner_url = postgres.url(APP_ROLE), postgres.url(OWNER_ROLE)
        given = {"home": layout.home, "database_url": url, "database_owner_url": owner_url}
        house = bootstrap.House(bootstrap.settings().model_copy(update=given))
        async with house.owner() as owner:
            await admin.prepare(owner_url, house.database, owner, house.keyring)
        yield house
        await house.database.close()
    finally:
        process.send_signal(signal.SIGQUIT)
        await process.wait()
        shutil.rmtree(root)
