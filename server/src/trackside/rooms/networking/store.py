"""Tables of networking, in the schema `platform`: the edge reads them for all workspaces at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.dialects.postgresql import UUID as Uuid

from trackside.kit.db import Transaction, among, platform_metadata
from trackside.kit.events import Projection, Recorded
from trackside.rooms.networking import events
from trackside.rooms.networking.model import (
    Backend,
    BackendReport,
    Health,
    Page,
    Probe,
    ProbeKind,
    Protocol,
    Route,
    Server,
)

EDGE_CHANNEL = "trackside_edge"
REPORT_CHANNEL = "trackside_reports"
ALLOCATION_LOCK = 0x7472616B

# Numbers and hosts are unique over all workspaces; checked at commit, for a replay folds one workspace's whole past after another's.
subnets = Table(
    "subnets",
    platform_metadata,
    Column("environment_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
    Column("number", Integer, nullable=False),
    UniqueConstraint("number", deferrable=True, initially="DEFERRED"),
)
hosts = Table(
    "hosts",
    platform_metadata,
    Column("service_instance_id", Uuid(as_uuid=True), primary_key=True),
    Column("host", Text, primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
    UniqueConstraint("host", deferrable=True, initially="DEFERRED"),
)
backends = Table(
    "backends",
    platform_metadata,
    Column("deployment_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
    Column("service_instance_id", Uuid(as_uuid=True), nullable=False, index=True),
    Column("environment_id", Uuid(as_uuid=True), nullable=False),
    Column("service_name", Text, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("servers", JSONB, nullable=False),
    Column("probe", JSONB),
    Column("protocol", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    UniqueConstraint("slot", deferrable=True, initially="DEFERRED"),
)
routes = Table(
    "routes",
    platform_metadata,
    Column("service_instance_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
    Column("slot", Integer),
    Column("page", Text),
    Column("deployment_id", Uuid(as_uuid=True)),
    Column("revision", BigInteger, nullable=False),
)
backend_reports = Table(
    "backend_reports",
    platform_metadata,
    Column("deployment_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("health", JSONB, nullable=False),
    Column("open_requests", Integer, nullable=False),
    Column("open_by_replica", JSONB, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)
route_reports = Table(
    "route_reports",
    platform_metadata,
    Column("service_instance_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)
Routed = tuple[Route, UUID | None, datetime | None]
"""A route, the deployment it leads to, and when the edge confirmed this very version of it (None: not yet)."""
READ_MODELS = (subnets, hosts, backends, routes)


async def _changed(tx: Transaction) -> None:
    await tx.notify(EDGE_CHANNEL, "")


async def _subnet_assigned(tx: Transaction, recorded: Recorded) -> None:
    event: events.SubnetAssigned = recorded.event
    await tx.connection.execute(
        insert(subnets).values(environment_id=event.environment_id, workspace_id=tx.workspace, number=event.number)
    )
    await _changed(tx)


async def _subnet_released(tx: Transaction, recorded: Recorded) -> None:
    await tx.connection.execute(delete(subnets).where(subnets.c.environment_id == recorded.event.environment_id))
    await _changed(tx)


async def _host_assigned(tx: Transaction, recorded: Recorded) -> None:
    event: events.HostAssigned = recorded.event
    await tx.connection.execute(
        insert(hosts).values(host=event.host, workspace_id=tx.workspace, service_instance_id=event.service_instance_id)
    )
    await _changed(tx)


async def _hosts_released(tx: Transaction, recorded: Recorded) -> None:
    event: events.HostsReleased = recorded.event
    await tx.connection.execute(delete(hosts).where(hosts.c.service_instance_id == event.service_instance_id))
    await _changed(tx)


async def _backend_put(tx: Transaction, recorded: Recorded) -> None:
    event: events.BackendPut = recorded.event
    values = {
        "workspace_id": tx.workspace,
        "service_instance_id": event.service_instance_id,
        "environment_id": event.environment_id,
        "service_name": event.service_name,
        "slot": event.slot,
        "servers": event.servers,
        "probe": event.probe,
        "protocol": event.protocol,
        "revision": recorded.seq,
    }
    statement = insert(backends).values(deployment_id=event.deployment_id, **values)
    await tx.connection.execute(statement.on_conflict_do_update(index_elements=["deployment_id"], set_=values))
    await _changed(tx)


async def _backend_removed(tx: Transaction, recorded: Recorded) -> None:
    event: events.BackendRemoved = recorded.event
    await tx.connection.execute(delete(backends).where(backends.c.deployment_id == event.deployment_id))
    await tx.connection.execute(delete(backend_reports).where(backend_reports.c.deployment_id == event.deployment_id))
    await _changed(tx)


async def _route_changed(tx: Transaction, recorded: Recorded) -> None:
    event: events.RouteChanged = recorded.event
    values = {
        "workspace_id": tx.workspace,
        "slot": event.slot,
        "page": event.page,
        "deployment_id": event.deployment_id,
        "revision": recorded.seq,
    }
    statement = insert(routes).values(service_instance_id=event.service_instance_id, **values)
    await tx.connection.execute(statement.on_conflict_do_update(index_elements=["service_instance_id"], set_=values))
    await _changed(tx)


async def _route_removed(tx: Transaction, recorded: Recorded) -> None:
    event: events.RouteRemoved = recorded.event
    for table in (routes, route_reports):
        await tx.connection.execute(delete(table).where(table.c.service_instance_id == event.service_instance_id))
    await _changed(tx)


PROJECTIONS: dict[type, Projection] = {
    events.SubnetAssigned: _subnet_assigned,
    events.SubnetReleased: _subnet_released,
    events.HostAssigned: _host_assigned,
    events.HostsReleased: _hosts_released,
    events.BackendPut: _backend_put,
    events.BackendRemoved: _backend_removed,
    events.RouteChanged: _route_changed,
    events.RouteRemoved: _route_removed,
}


# --- allocation: numbers that are unique over all workspaces ---


async def lock_allocation(tx: Transaction) -> None:
    """One allocation of slots, subnets or hosts at a time; they are unique over all workspaces, which RLS hides."""
    await tx.connection.execute(select(func.pg_advisory_xact_lock(ALLOCATION_LOCK)))


async def free_number(tx: Transaction, what: str, below: int) -> int | None:
    """The lowest free number of `subnet` (from 0) or `slot` (from 1), below the bound; None where all are taken."""
    statement = text("SELECT platform.free_number(:what, :below)")
    return (await tx.connection.execute(statement, {"what": what, "below": below})).scalar_one()


async def host_is_taken(tx: Transaction, host: str) -> bool:
    """Whether any workspace has this host."""
    return bool(
        (await tx.connection.execute(text("SELECT platform.host_is_taken(:host)"), {"host": host})).scalar_one()
    )


async def subnet_number(tx: Transaction, environment_id: UUID) -> int | None:
    query = select(subnets.c.number).where(subnets.c.environment_id == environment_id)
    return (await tx.connection.execute(query)).scalar_one_or_none()


async def hosts_of(tx: Transaction, instance_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    query = select(hosts).where(among(hosts.c.service_instance_id, instance_ids)).order_by(hosts.c.host)
    found: dict[UUID, list[str]] = {}
    for row in await tx.connection.execute(query):
        found.setdefault(row.service_instance_id, []).append(row.host)
    return found


# --- what is wanted of the edge ---


def _backend(row: Mapping[str, Any]) -> Backend:
    probe = row["probe"]
    return Backend(
        slot=row["slot"],
        service_instance_id=row["service_instance_id"],
        deployment_id=row["deployment_id"],
        servers=tuple(
            Server(UUID(s["replica_id"]), IPv4Address(s["address"]), s["port"], s["is_leaving"]) for s in row["servers"]
        ),
        probe=Probe(ProbeKind(probe["kind"]), probe["path"], probe["timeout"], probe["interval"]) if probe else None,
        protocol=Protocol(row["protocol"]),
        revision=row["revision"],
    )


async def backends_of(tx: Transaction, instance_ids: Sequence[UUID]) -> list[Backend]:
    query = select(backends).where(among(backends.c.service_instance_id, instance_ids)).order_by(backends.c.slot)
    return [_backend(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def all_backends(tx: Transaction) -> list[tuple[Backend, str, UUID]]:
    """Every backend, with its service's name and its environment."""
    rows = (await tx.connection.execute(select(backends).order_by(backends.c.slot))).mappings()
    return [(_backend(dict(row)), row["service_name"], row["environment_id"]) for row in rows]


async def all_subnets(tx: Transaction) -> dict[UUID, int]:
    return {row.environment_id: row.number for row in await tx.connection.execute(select(subnets))}


def _route(row: Mapping[str, Any], names: Sequence[str]) -> Route:
    target = row["slot"] if row["slot"] is not None else Page(row["page"])
    return Route(row["service_instance_id"], tuple(names), target, row["revision"])


async def all_routes(tx: Transaction) -> list[Route]:
    names: dict[UUID, list[str]] = {}
    for row in await tx.connection.execute(select(hosts).order_by(hosts.c.host)):
        names.setdefault(row.service_instance_id, []).append(row.host)
    rows = (await tx.connection.execute(select(routes))).mappings()
    return [_route(dict(row), names.get(row["service_instance_id"], [])) for row in rows]


async def routes_of(tx: Transaction, instance_ids: Sequence[UUID]) -> dict[UUID, Routed]:
    query = (
        select(routes, route_reports.c.revision.label("applied"), route_reports.c.at.label("applied_at"))
        .outerjoin(route_reports, route_reports.c.service_instance_id == routes.c.service_instance_id)
        .where(among(routes.c.service_instance_id, instance_ids))
    )
    return {
        row["service_instance_id"]: (
            _route(dict(row), ()),
            row["deployment_id"],
            row["applied_at"] if (row["applied"] or 0) >= row["revision"] else None,
        )
        for row in (await tx.connection.execute(query)).mappings()
    }


# --- what the edge has seen ---


async def reports_of(tx: Transaction, instance_ids: Sequence[UUID]) -> dict[UUID, tuple[BackendReport, datetime]]:
    """The edge's last report on each backend of the service instances, by deployment, with its time."""
    query = (
        select(backend_reports, backends.c.slot)
        .join(backends, backends.c.deployment_id == backend_reports.c.deployment_id)
        .where(among(backends.c.service_instance_id, instance_ids))
    )
    found: dict[UUID, tuple[BackendReport, datetime]] = {}
    for row in (await tx.connection.execute(query)).mappings():
        health = {UUID(key): _health(value) for key, value in row["health"].items()}
        report = BackendReport(
            row["slot"],
            row["deployment_id"],
            row["revision"],
            health,
            row["open_requests"],
            {UUID(key): count for key, count in row["open_by_replica"].items()},
        )
        found[row["deployment_id"]] = (report, row["at"])
    return found


def _health(value: Mapping[str, Any]) -> Health:
    well_until = value.get("well_until")
    return Health(
        value["is_healthy"],
        value["detail"],
        datetime.fromisoformat(value["since"]),
        datetime.fromisoformat(well_until) if well_until else None,
    )


def _plain(health: Health) -> dict[str, Any]:
    return {
        "is_healthy": health.is_healthy,
        "detail": health.detail,
        "since": health.since.isoformat(),
        "well_until": health.well_until.isoformat() if health.well_until else None,
    }


async def save_reports(tx: Transaction, reports: Sequence[BackendReport], applied: Mapping[UUID, int]) -> None:
    """Store what the edge did and saw, and nudge whoever waits for it. Reports on what is gone are dropped.

    All of one call carry one time: they were seen together.
    """
    at = tx.clock.now()
    touched: set[tuple[UUID, UUID]] = set()
    for report in reports:
        touched |= await _save_backend_report(tx, report, at)
    for instance_id, revision in applied.items():
        touched |= await _save_route_report(tx, instance_id, revision, at)
    for workspace_id, instance_id in touched:
        await tx.notify(REPORT_CHANNEL, f"{workspace_id}:{instance_id}")


async def _save_backend_report(tx: Transaction, report: BackendReport, at: datetime) -> set[tuple[UUID, UUID]]:
    query = select(backends.c.workspace_id, backends.c.service_instance_id)
    owner = (await tx.connection.execute(query.where(backends.c.deployment_id == report.deployment_id))).first()
    if owner is None:
        return set()
    values = {
        "workspace_id": owner.workspace_id,
        "revision": report.revision,
        "health": {str(key): _plain(value) for key, value in report.health.items()},
        "open_requests": report.open_requests,
        "open_by_replica": {str(key): count for key, count in report.open_by_replica.items()},
        "at": at,
    }
    statement = insert(backend_reports).values(deployment_id=report.deployment_id, **values)
    await tx.connection.execute(statement.on_conflict_do_update(index_elements=["deployment_id"], set_=values))
    return {(owner.workspace_id, owner.service_instance_id)}


async def _save_route_report(tx: Transaction, instance_id: UUID, revision: int, at: datetime) -> set[tuple[UUID, UUID]]:
    query = select(routes.c.workspace_id).where(routes.c.service_instance_id == instance_id)
    workspace_id = (await tx.connection.execute(query)).scalar_one_or_none()
    if workspace_id is None:
        return set()
    values = {"workspace_id": workspace_id, "revision": revision, "at": at}
    statement = insert(route_reports).values(service_instance_id=instance_id, **values)
    await tx.connection.execute(statement.on_conflict_do_update(index_elements=["service_instance_id"], set_=values))
    return {(workspace_id, instance_id)}


async def owners(tx: Transaction) -> dict[UUID, UUID]:
    """The workspace of every service instance that has a host name."""
    rows = await tx.connection.execute(select(hosts.c.service_instance_id, hosts.c.workspace_id))
    return {row.service_instance_id: row.workspace_id for row in rows}


async def has_reported(tx: Transaction, since: datetime) -> bool:
    """Whether the edge has reported since then, or has nothing to report on."""
    fresh = select(backend_reports).where(backend_reports.c.at >= since)
    return bool((await tx.connection.execute(select(~select(backends).exists() | fresh.exists()))).scalar_one())


async def workspaces(tx: Transaction) -> dict[UUID, UUID]:
    """The workspace of every service instance that has a route."""
    rows = await tx.connection.execute(select(routes.c.service_instance_id, routes.c.workspace_id))
    return {row.service_instance_id: row.workspace_id for row in rows}
