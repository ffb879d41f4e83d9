"""Use cases of networking, asked by deployments (downward calls) and by the edge process."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.db import Emptied, Transaction
from trackside.rooms.networking import errors, events, store
from trackside.rooms.networking.converge import EdgeKeeper, Parts, Store
from trackside.rooms.networking.model import (
    Addressing,
    Backend,
    BackendReport,
    BackendShape,
    EdgeState,
    Name,
    Page,
)
from trackside.rooms.projects.model import ServiceInstance

__all__ = ["EdgeKeeper", "Parts", "Store"]

PROJECTIONS = store.PROJECTIONS
"""How this room's events are folded; joined by bootstrap."""
READ_MODELS = Emptied(shared=store.READ_MODELS, workspace=())
"""What a replay empties and rebuilds."""

EDGE_CHANNEL = store.EDGE_CHANNEL
REPORT_CHANNEL = store.REPORT_CHANNEL
Routed = store.Routed


# --- names and numbers ---


async def ensure_subnet(tx: Transaction, addressing: Addressing, environment_id: UUID) -> IPv4Network:
    """The environment's subnet, assigned at the first call. Errors: `SubnetsExhausted`."""
    number = await store.subnet_number(tx, environment_id)
    if number is None:
        await stream.lock(tx)
        await store.lock_allocation(tx)
        number = await store.free_number(tx, "subnet", addressing.subnets)
        if number is None:
            raise errors.SubnetsExhausted(f"All {addressing.subnets} subnets of {addressing.pool} are in use.")
        await stream.record(tx, events.SubnetAssigned(environment_id, number))
    return addressing.subnet(number)


async def release_subnet(tx: Transaction, environment_id: UUID) -> None:
    """Give the environment's subnet back; its network is gone."""
    if await store.subnet_number(tx, environment_id) is not None:
        await stream.record(tx, events.SubnetReleased(environment_id))


async def ensure_host(tx: Transaction, addressing: Addressing, instance: ServiceInstance) -> str:
    """The service instance's host name, assigned at the first call and kept for ever."""
    present = (await store.hosts_of(tx, [instance.id])).get(instance.id)
    if present:
        return present[0]
    await stream.lock(tx)
    await store.lock_allocation(tx)
    suffixes = ("".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(4)) for _ in range(100))
    for host in addressing.hosts(instance.service_name, instance.environment_name, suffixes):
        if not await store.host_is_taken(tx, host):
            await stream.record(tx, events.HostAssigned(instance.id, host))
            return host
    raise errors.HostsExhausted(f"No free host name was found for {instance.service_name}.")


async def environments(tx: Transaction) -> frozenset[UUID]:
    """Every environment that has a subnet, of all workspaces."""
    return frozenset(await store.all_subnets(tx))


async def hosts_of(tx: Transaction, instance_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """Host names by service instance."""
    return await store.hosts_of(tx, instance_ids)


# --- backends and routes ---


async def backends_of(tx: Transaction, *instance_ids: UUID) -> list[Backend]:
    """The backends wanted for the service instances."""
    return await store.backends_of(tx, instance_ids)


async def reports_of(tx: Transaction, *instance_ids: UUID) -> dict[UUID, tuple[BackendReport, datetime]]:
    """The edge's last report by deployment, with its time."""
    return await store.reports_of(tx, instance_ids)


async def route_of(tx: Transaction, instance_id: UUID) -> Routed | None:
    """The wanted route, the deployment it leads to, and when the edge confirmed it (None: not yet)."""
    return (await store.routes_of(tx, [instance_id])).get(instance_id)


async def routes_of(tx: Transaction, *instance_ids: UUID) -> dict[UUID, Routed]:
    """The same of several service instances, without those that have no route."""
    return await store.routes_of(tx, instance_ids)


async def put_backend(
    tx: Transaction, addressing: Addressing, instance: ServiceInstance, deployment_id: UUID, shape: BackendShape
) -> None:
    """Want a deployment's backend to be so; a slot is found at the first call. Errors: `SlotsExhausted`."""
    present = {backend.deployment_id: backend for backend in await store.backends_of(tx, [instance.id])}
    before = present.get(deployment_id)
    if before and BackendShape(before.servers, before.probe, before.protocol) == shape:
        return
    probe = shape.probe
    await stream.record(
        tx,
        events.BackendPut(
            deployment_id=deployment_id,
            service_instance_id=instance.id,
            environment_id=instance.environment_id,
            service_name=instance.service_name,
            slot=before.slot if before else await _free_slot(tx, addressing.slots),
            servers=[
                {"replica_id": str(s.replica_id), "address": str(s.address), "port": s.port, "is_leaving": s.is_leaving}
                for s in shape.servers
            ],
            probe={"kind": str(probe.kind), "path": probe.path, "timeout": probe.timeout, "interval": probe.interval}
            if probe
            else None,
            protocol=str(shape.protocol),
        ),
    )


async def _free_slot(tx: Transaction, slots: int) -> int:
    await stream.lock(tx)
    await store.lock_allocation(tx)
    slot = await store.free_number(tx, "slot", slots + 1)
    if slot is None:
        raise errors.SlotsExhausted(f"All {slots} slots of the edge are in use.")
    return slot


async def remove_backend(tx: Transaction, deployment_id: UUID) -> None:
    """Want the deployment's backend gone; its slot is free again."""
    await stream.record(tx, events.BackendRemoved(deployment_id))


async def route_to_backend(tx: Transaction, instance_id: UUID, deployment_id: UUID) -> None:
    """Want all new requests to go to this deployment's backend."""
    backend = next(b for b in await store.backends_of(tx, [instance_id]) if b.deployment_id == deployment_id)
    await stream.record(tx, events.RouteChanged(instance_id, backend.slot, None, deployment_id))


async def route_to_page(tx: Transaction, instance_id: UUID, page: Page) -> None:
    """Want requests to be answered by a page that names the cause."""
    present = await route_of(tx, instance_id)
    if present is None or present[0].target != page:
        await stream.record(tx, events.RouteChanged(instance_id, None, str(page), None))


async def forget_instance(tx: Transaction, instance_id: UUID) -> None:
    """Give up the route and host names of a service instance that is deleted."""
    await stream.record(tx, events.RouteRemoved(instance_id), events.HostsReleased(instance_id))


# --- the edge process ---


async def edge_state(tx: Transaction, addressing: Addressing) -> EdgeState:
    """All that the edge is to do, of all workspaces; needs a platform transaction."""
    backends = await store.all_backends(tx)
    routes = await store.all_routes(tx)
    subnets = {key: addressing.subnet(number) for key, number in (await store.all_subnets(tx)).items()}
    routed = {route.target for route in routes if isinstance(route.target, int)}
    names = [
        Name(
            service_name,
            subnets[environment_id],
            tuple(server.address for server in backend.servers if not server.is_leaving),
        )
        for backend, service_name, environment_id in backends
        if backend.slot in routed and environment_id in subnets
    ]
    return EdgeState(
        tuple(backend for backend, _, _ in backends), tuple(routes), tuple(names), tuple(sorted(subnets.values()))
    )


async def save_reports(tx: Transaction, reports: Sequence[BackendReport], applied: Mapping[UUID, int]) -> None:
    """Store what the edge did and saw; needs a platform transaction."""
    await store.save_reports(tx, reports, applied)


async def owners(tx: Transaction) -> dict[UUID, UUID]:
    """The workspace of every service instance that a deployment was ever asked for, until it is deleted: each has a host
    name. Needs a platform transaction.
    """
    return await store.owners(tx)


async def has_reported(tx: Transaction, since: datetime) -> bool:
    """Whether the edge has reported since then, or has nothing to report on; needs a platform transaction."""
    return await store.has_reported(tx, since)


async def workspaces(tx: Transaction) -> dict[UUID, UUID]:
    """The workspace of every service instance that has a route; needs a platform transaction."""
    return await store.workspaces(tx)
