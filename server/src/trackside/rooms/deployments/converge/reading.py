"""What is on record of service instances, read for one pass or, in bulk, for the timer's look at everything that is due."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from trackside.kit.clock import Reading
from trackside.kit.db import Transaction
from trackside.rooms.deployments import store
from trackside.rooms.deployments.converge.seeing import Records
from trackside.rooms.deployments.model import Deployment, Replica
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Backend


async def read(tx: Transaction, moment: Reading, *instance_ids: UUID) -> dict[UUID, Records]:
    """The records of each service instance: as many queries for a thousand as for one."""
    backends: dict[UUID, dict[UUID, Backend]] = defaultdict(dict)
    for backend in await networking.backends_of(tx, *instance_ids):
        backends[backend.service_instance_id][backend.deployment_id] = backend
    reports = await networking.reports_of(tx, *instance_ids)
    routes = await networking.routes_of(tx, *instance_ids)
    deployments: dict[UUID, list[Deployment]] = defaultdict(list)
    for deployment in await _with_something_left(tx, instance_ids, backends):
        deployments[deployment.service_instance_id].append(deployment)
    owners = {deployment.id: key for key, group in deployments.items() for deployment in group}
    replicas: dict[UUID, list[Replica]] = defaultdict(list)
    for replica in await store.replicas_of(tx, list(owners)):
        replicas[owners[replica.deployment_id]].append(replica)
    return {
        key: Records(tuple(deployments[key]), tuple(replicas[key]), backends[key], reports, routes.get(key), moment)
        for key in instance_ids
    }


async def _with_something_left(
    tx: Transaction, instance_ids: Sequence[UUID], backends: Mapping[UUID, Mapping[UUID, Backend]]
) -> list[Deployment]:
    """Deployments that have not ended, or still have replicas or a backend."""
    unsettled = await store.unsettled(tx, *instance_ids)
    left = {key for group in backends.values() for key in group} - {deployment.id for deployment in unsettled}
    return unsettled + (await store.deployments_by_id(tx, left) if left else [])
