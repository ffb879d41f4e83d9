"""A thousand services: rows and routes for all of them, containers for ten; how soon a change of a route is live.

All services but ten are made by the API and then given a copy of a real one's deployment, backend and route, straight into the
tables: so this is measured on a platform that goes away afterwards.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import httpx
from sqlalchemy import text

from trackside.command.bench_deployments import from_source
from trackside.command.bench_memory import memory_by_process
from trackside.command.bench_platform import BenchFailed, Platform
from trackside.kit.clock import SystemClock
from trackside.kit.db import Database, schema_of
from trackside.kit.ids import new_id
from trackside.rooms.networking.service import EDGE_CHANNEL

SERVICES, SERVED = 1_000, 10
CHANGES = 20
MOST_WAIT = 60.0
AT_ONCE = 8
COPY = (
    """INSERT INTO tenant.deployments (id, service_instance_id, status, trigger, source, config_version, settings, build,
        variables, image, wanted_replicas, steps, has_served, created_at, updated_at, version)
    SELECT :deployment, :instance, 'SUCCESS', trigger, source, config_version, settings, build, variables, image, 0, steps,
        true, created_at, updated_at, version FROM tenant.deployments WHERE id = :model""",
    "INSERT INTO platform.due VALUES (:instance, :workspace)",
    "INSERT INTO platform.hosts VALUES (:instance, :host, :workspace)",
    """INSERT INTO platform.backends (deployment_id, workspace_id, service_instance_id, environment_id, service_name, slot,
        servers, probe, protocol, revision)
    SELECT :deployment, workspace_id, :instance, environment_id, :name, :slot,
        jsonb_build_array(servers -> 0 || jsonb_build_object('replica_id', CAST(:replica AS text))), probe, protocol, revision
    FROM platform.backends WHERE deployment_id = :model""",
    """INSERT INTO platform.routes (service_instance_id, workspace_id, slot, deployment_id, revision)
    VALUES (:instance, :workspace, :slot, :deployment, 1)""",
)
LEAD = """UPDATE platform.routes SET slot = :slot, page = :page, deployment_id = :deployment, revision = revision + 1
WHERE service_instance_id = :instance"""
CONFIRMED = """SELECT count(*) FROM platform.routes JOIN platform.route_reports USING (service_instance_id)
WHERE route_reports.revision >= routes.revision AND slot IS NOT NULL"""


@dataclass(frozen=True)
class Copy:
    """A service without a container of its own."""

    instance: UUID
    deployment: UUID
    host: str
    slot: int


@dataclass(frozen=True)
class Scale:
    """`settled`: seconds until the edge had taken over all of them; `changes`: seconds from a route's change until visitors see it;
    `memory`: bytes by process.
    """

    services: int
    settled: float
    changes: Sequence[float]
    memory: Mapping[str, int]


async def scale(platform: Platform, services: int = SERVICES) -> Scale:
    """Errors: `BenchFailed` where the edge does not take them over or a change never comes."""
    database = Database(platform.settings["database_url"], SystemClock(), pool_size=2)
    try:
        models = await _models(platform)
        names = [f"copy-{number:04}" for number in range(services - SERVED)]
        instances = await _instances(platform, names)
        workspace = UUID((await platform.ask("GET", f"/projects/{platform.project}"))["workspace_id"])
        began = time.monotonic()
        copies = await _copy(database, workspace, models, instances)
        await _until_confirmed(database, services)
        settled = time.monotonic() - began
        changes = [await _change(platform, database, workspace, copies[number * 7]) for number in range(CHANGES)]
        pids = {found["name"]: found["pid"] for found in platform.status["processes"]}
        return Scale(services, settled, changes, memory_by_process(pids))
    finally:
        await database.close()


async def _models(platform: Platform) -> list[UUID]:
    """Deployments that really serve."""
    built = await from_source(platform, "model-0", 0)
    source = {"kind": "image", "reference": built.deployment["image_id"]}
    others = [await platform.deploy(f"model-{number}", source) for number in range(1, SERVED)]
    return [UUID(one.deployment["id"]) for one in (built, *others)]


async def _instances(platform: Platform, names: Sequence[str]) -> dict[str, str]:
    """Services of these names, made by the API; their instances by name."""
    waiting = list(names)

    async def make() -> None:
        while waiting:
            await platform.ask("POST", f"/projects/{platform.project}/services", json={"name": waiting.pop()})

    await asyncio.gather(*(make() for _ in range(AT_ONCE)))
    project = await platform.ask("GET", f"/projects/{platform.project}")
    found = project["environments"][0]["service_instances"]
    return {one["service_name"]: one["id"] for one in found if one["service_name"] in set(names)}


async def _copy(
    database: Database, workspace: UUID, models: Sequence[UUID], instances: Mapping[str, str]
) -> list[Copy]:
    """Give each service instance the deployment, backend and route of one of the models."""
    copies: list[Copy] = []
    rows: list[Mapping[str, object]] = []
    async with database.transaction() as tx:
        last = (await tx.connection.execute(text("SELECT max(slot) FROM platform.backends"))).scalar_one()
    for slot, (name, instance) in enumerate(sorted(instances.items()), start=last + 1):
        one = Copy(UUID(instance), new_id(), f"{name}.localhost", slot)
        copies.append(one)
        values = {"workspace": workspace, "name": name, "replica": str(new_id()), "model": models[slot % len(models)]}
        rows.append(vars(one) | values)
    async with database.transaction(workspace) as tx:
        for statement in COPY:
            await tx.connection.execute(text(_in_schema(statement, workspace)), rows)
        await tx.notify(EDGE_CHANNEL, "")
    return copies


def _in_schema(statement: str, workspace: UUID) -> str:
    return statement.replace("tenant.", f"{schema_of(workspace)}.")


async def _until_confirmed(database: Database, count: int) -> None:
    deadline = time.monotonic() + MOST_WAIT
    while time.monotonic() < deadline:
        async with database.transaction() as tx:
            if (await tx.connection.execute(text(CONFIRMED))).scalar_one() >= count:
                return
        await asyncio.sleep(0.05)
    raise BenchFailed(f"The edge did not take over {count} routes within {MOST_WAIT:g} s.")


async def _change(platform: Platform, database: Database, workspace: UUID, one: Copy) -> float:
    """Lead a route to a page and back; seconds from the first change until visitors see it."""
    async with httpx.AsyncClient(base_url=platform.status["edge_url"], trust_env=False, timeout=10) as visitor:
        await _until_answered(visitor, one.host, httpx.codes.OK)
        began = time.monotonic()
        await _lead(database, workspace, one, to_page=True)
        await _until_answered(visitor, one.host, httpx.codes.SERVICE_UNAVAILABLE)
        took = time.monotonic() - began
        await _lead(database, workspace, one, to_page=False)
        await _until_answered(visitor, one.host, httpx.codes.OK)
        return took


async def _lead(database: Database, workspace: UUID, one: Copy, *, to_page: bool) -> None:
    where = {"slot": None, "page": "stopped", "deployment": None}
    back = {"slot": one.slot, "page": None, "deployment": one.deployment}
    async with database.transaction(workspace) as tx:
        await tx.connection.execute(text(LEAD), {"instance": one.instance} | (where if to_page else back))
        await tx.notify(EDGE_CHANNEL, "")


async def _until_answered(visitor: httpx.AsyncClient, host: str, status: int) -> None:
    deadline = time.monotonic() + MOST_WAIT
    while time.monotonic() < deadline:
        if (await visitor.get("/", headers={"Host": host})).status_code == status:
            return
        await asyncio.sleep(0.002)
    raise BenchFailed(f"{host} never answered with {status}.")
