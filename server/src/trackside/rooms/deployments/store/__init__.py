"""Queries of deployments, of their replicas and of what to look at."""

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import any_, bindparam, case, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.dialects.postgresql import UUID as Uuid

from trackside.kit.db import Transaction, among
from trackside.kit.ids import parse_id
from trackside.rooms.deployments.model import (
    ACTIVE,
    ENDED,
    Deployment,
    ImageFacts,
    Replica,
    ReplicaStatus,
    Role,
    Settings,
    Status,
    Step,
    Trigger,
)
from trackside.rooms.deployments.plan.images import ImageUse
from trackside.rooms.deployments.plan.uploads import UploadUse
from trackside.rooms.deployments.store.tables import deployments, due, replicas


def _deployment(row: Mapping[str, Any]) -> Deployment:
    return Deployment(
        id=row["id"],
        service_instance_id=row["service_instance_id"],
        status=Status(row["status"]),
        reason=row["reason"],
        hint=row["hint"],
        code=row["code"],
        trigger=Trigger(row["trigger"]),
        source=row["source"],
        commit=row["commit"],
        config_version=row["config_version"],
        settings=msgspec.convert(row["settings"], Settings),
        build=row["build"],
        variables=msgspec.convert(row["variables"], dict[str, UUID]),
        image=msgspec.convert(row["image"], ImageFacts) if row["image"] else None,
        port=row["port"],
        wanted_replicas=row["wanted_replicas"],
        rollback_of=row["rollback_of"],
        steps=msgspec.convert(row["steps"], tuple[Step, ...]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        removing_at=row["removing_at"],
        ended_at=row["ended_at"],
        version=row["version"],
    )


def _replica(row: Mapping[str, Any]) -> Replica:
    values = dict(row)
    values.update(role=Role(row["role"]), status=ReplicaStatus(row["status"]), address=IPv4Address(row["address"]))
    return Replica(**values)


async def deployment(tx: Transaction, deployment_id: UUID) -> Deployment | None:
    query = select(deployments).where(deployments.c.id == deployment_id)
    row = (await tx.connection.execute(query)).mappings().first()
    return _deployment(dict(row)) if row else None


async def deployments_by_id(tx: Transaction, deployment_ids: Collection[UUID]) -> list[Deployment]:
    query = select(deployments).where(among(deployments.c.id, deployment_ids))
    return [_deployment(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def deployments_of(tx: Transaction, instance_id: UUID, limit: int) -> list[Deployment]:
    """Newest first."""
    query = (
        select(deployments)
        .where(deployments.c.service_instance_id == instance_id)
        .order_by(deployments.c.created_at.desc(), deployments.c.id.desc())
        .limit(limit)
    )
    return [_deployment(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def latest_and_active(
    tx: Transaction, instance_ids: Sequence[UUID]
) -> dict[UUID, tuple[Deployment, Deployment | None]]:
    """The newest deployment of each service instance, and the one that holds it (SUCCESS, CRASHED or SLEEPING)."""
    newest = {one.service_instance_id: one for one in await _newest(tx, instance_ids)}
    held = {instance_id: one for instance_id, one in newest.items() if one.status in ACTIVE}
    older = [instance_id for instance_id in newest if instance_id not in held]
    if older:
        held |= {one.service_instance_id: one for one in await _newest(tx, older, ACTIVE)}
    return {instance_id: (one, held.get(instance_id)) for instance_id, one in newest.items()}


async def _newest(tx: Transaction, instance_ids: Sequence[UUID], statuses: Collection[Status] = ()) -> list[Deployment]:
    """The newest deployment of each service instance, of those with one of the statuses where there are any."""
    query = (
        select(deployments)
        .where(among(deployments.c.service_instance_id, instance_ids))
        .order_by(deployments.c.service_instance_id, deployments.c.created_at.desc(), deployments.c.id.desc())
        .ext(distinct_on(deployments.c.service_instance_id))
    )
    if statuses:
        query = query.where(deployments.c.status.in_(statuses))
    return [_deployment(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def unsettled(tx: Transaction, *instance_ids: UUID) -> list[Deployment]:
    """Deployments of service instances that have not ended, or that still have replicas; newest first."""
    has_replicas = select(replicas.c.id).where(replicas.c.deployment_id == deployments.c.id).exists()
    query = (
        select(deployments)
        .where(among(deployments.c.service_instance_id, instance_ids))
        .where(or_(deployments.c.status.not_in([str(status) for status in ENDED]), has_replicas))
        .order_by(deployments.c.created_at.desc(), deployments.c.id.desc())
    )
    return [_deployment(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def replicas_of(tx: Transaction, deployment_ids: Sequence[UUID]) -> list[Replica]:
    query = select(replicas).where(among(replicas.c.deployment_id, deployment_ids)).order_by(replicas.c.ordinal)
    return [_replica(dict(row)) for row in (await tx.connection.execute(query)).mappings()]


async def free_addresses(tx: Transaction, subnet: IPv4Network, count: int) -> list[IPv4Address] | None:
    """Addresses of the subnet no replica has, going round so that one just given up is not given out at once."""
    rows = await tx.connection.execute(select(replicas.c.address, replicas.c.created_at))
    taken = {IPv4Address(row.address): row.created_at for row in rows if IPv4Address(row.address) in subnet}
    last = max(taken, key=lambda address: taken[address], default=subnet[1])
    usable = [subnet[number] for number in range(2, subnet.num_addresses - 1)]
    start = next((index for index, address in enumerate(usable) if address > last), 0)
    free = [address for address in usable[start:] + usable[:start] if address not in taken]
    return free[:count] if len(free) >= count else None


async def image_uses(tx: Transaction, instance_ids: Collection[UUID], count: int) -> dict[UUID, list[ImageUse]]:
    """Of each service instance the last deployments that have served, and all that have not ended, newest first."""
    ended = [str(status) for status in ENDED]
    instance = deployments.c.service_instance_id
    newest_first = (deployments.c.created_at.desc(), deployments.c.id.desc())
    is_theirs = instance == any_(bindparam("instances", list(instance_ids), type_=ARRAY(Uuid(as_uuid=True))))
    place = func.row_number().over(partition_by=instance, order_by=newest_first).label("place")
    served = select(deployments.c.id, place).where(is_theirs, deployments.c.has_served).subquery()
    last = select(served.c.id).where(served.c.place <= count)
    query = (
        select(deployments.c.id, instance, deployments.c.image, deployments.c.has_served, deployments.c.status)
        .where(is_theirs, or_(deployments.c.id.in_(last), deployments.c.status.not_in(ended)))
        .order_by(*newest_first)
    )
    found: dict[UUID, list[ImageUse]] = {instance_id: [] for instance_id in instance_ids}
    for row in await tx.connection.execute(query):
        image_id = row.image["image_id"] if row.image else None
        use = ImageUse(row.id, image_id, row.has_served, row.status in ended)
        found[row.service_instance_id].append(use)
    return found


async def upload_uses(tx: Transaction) -> list[UploadUse]:
    """What the deployments of the bound workspace were made from, upload by upload."""
    instance, has_served = deployments.c.service_instance_id, deployments.c.has_served
    newest_first = (deployments.c.created_at.desc(), deployments.c.id.desc())
    served_place = func.row_number().over(partition_by=(instance, has_served), order_by=newest_first)
    placed = select(
        deployments.c.source["upload_id"].astext.label("upload"),
        deployments.c.status.in_([str(status) for status in ENDED]).label("has_ended"),
        func.row_number().over(partition_by=instance, order_by=newest_first).label("place"),
        case((has_served, served_place)).label("served_place"),
    ).subquery()
    query = (
        select(
            placed.c.upload,
            func.bool_and(placed.c.has_ended).label("has_ended"),
            func.min(placed.c.place).label("place"),
            func.min(placed.c.served_place).label("served_place"),
        )
        .where(placed.c.upload.is_not(None))
        .group_by(placed.c.upload)
    )
    found = [(parse_id(row.upload), row) for row in await tx.connection.execute(query)]
    return [UploadUse(one, row.has_ended, row.place, row.served_place) for one, row in found if one]


async def has_image(tx: Transaction, digest: str) -> bool:
    """Whether a deployment of the bound workspace has this very image on record, by content id or registry digest."""
    is_it = or_(deployments.c.image["image_id"].astext == digest, deployments.c.image["digest"].astext == digest)
    return (await tx.connection.execute(select(deployments.c.id).where(is_it).limit(1))).first() is not None


async def ids_of_deployments(tx: Transaction, instance_ids: Sequence[UUID]) -> list[UUID]:
    query = select(deployments.c.id).where(deployments.c.service_instance_id.in_(instance_ids))
    return list((await tx.connection.execute(query)).scalars())


async def owners_of_logs(tx: Transaction) -> frozenset[UUID]:
    """The deployments of the bound workspace."""
    return frozenset((await tx.connection.execute(select(deployments.c.id))).scalars())


async def has_served(tx: Transaction, deployment_id: UUID) -> bool:
    query = select(deployments.c.has_served).where(deployments.c.id == deployment_id)
    return bool((await tx.connection.execute(query)).scalar_one_or_none())


async def all_due(tx: Transaction) -> list[tuple[UUID, UUID]]:
    """(workspace, service instance) of everything a planner has to look at."""
    return [(row.workspace_id, row.service_instance_id) for row in await tx.connection.execute(select(due))]


async def unpulled(tx: Transaction) -> list[UUID]:
    """The bound workspace's deployments of existing images that are still to be pulled."""
    query = select(deployments.c.id).where(
        deployments.c.status.in_([Status.INITIALIZING, Status.QUEUED, Status.BUILDING]),
        deployments.c.source["kind"].astext == "image",
    )
    return list((await tx.connection.execute(query)).scalars())


async def deploying(tx: Transaction) -> list[UUID]:
    """The bound workspace's service instances with a deployment that is being made to run and says nothing of waiting."""
    query = select(deployments.c.service_instance_id).where(
        deployments.c.status == Status.DEPLOYING, deployments.c.reason.is_(None)
    )
    return list((await tx.connection.execute(query.distinct())).scalars())
