"""What of ours on the engine belongs to nothing on record. Pure.

The engine is looked at first, the records after that: whatever is made for a record is made after the record was committed, and
a record goes only after what was made for it. So what was seen and is on no record is nobody's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from trackside.rooms.deployments.model import Network, SeenReplica
from trackside.rooms.deployments.plan.images import ImageUse, to_give_up

Held = Mapping[UUID, Mapping[UUID, str]]
"""Service instance → deployment → the content id of the image held for it."""


@dataclass(frozen=True)
class OnEngine:
    """What carries our label there, of all workspaces."""

    held: Held = field(default_factory=dict[UUID, Mapping[UUID, str]])
    replicas: Sequence[SeenReplica] = ()
    networks: Sequence[Network] = ()


@dataclass(frozen=True)
class OnRecord:
    """What the records know: service instances, environments with a subnet, and the images in use of each instance.

    `uses` lacks those that could not be read.
    """

    instances: frozenset[UUID] = frozenset()
    environments: frozenset[UUID] = frozenset()
    uses: Mapping[UUID, Sequence[ImageUse]] = field(default_factory=dict[UUID, Sequence[ImageUse]])


@dataclass(frozen=True)
class Garbage:
    """What may go: containers, networks by environment, images by the service instance and deployments they are held for."""

    replicas: tuple[UUID, ...] = ()
    networks: tuple[UUID, ...] = ()
    images: Mapping[UUID, frozenset[UUID]] = field(default_factory=dict[UUID, frozenset[UUID]])


def garbage(seen: OnEngine, known: OnRecord, kept: int) -> Garbage:
    """`kept`: of how many deployments that served the image stays, per service instance.

    Containers of an instance on record are its converging's matter, also those that are too many. A container holds its image
    until it is gone, and a network its environment. Of an instance on record whose images could not be read nothing goes.
    """
    nobodys = tuple(sorted(one.replica_id for one in seen.replicas if one.service_instance_id not in known.instances))
    running = {one.deployment_id for one in seen.replicas if one.service_instance_id in known.instances}
    over = {
        instance_id: to_give_up(held, known.uses.get(instance_id, ()), kept) - running
        for instance_id, held in seen.held.items()
        if instance_id in known.uses or instance_id not in known.instances
    }
    return Garbage(
        nobodys,
        tuple(
            sorted(
                network.environment_id for network in seen.networks if network.environment_id not in known.environments
            )
        ),
        {instance_id: deployments for instance_id, deployments in over.items() if deployments},
    )
