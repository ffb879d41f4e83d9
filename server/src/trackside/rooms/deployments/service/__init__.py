"""Use cases of deployments: one function per verb, permission first.

Whoever reads in order to decide locks the stream first (see the use cases of projects).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.db import Emptied, Transaction
from trackside.kit.ids import new_id
from trackside.rooms.access.model import Actor, Permission
from trackside.rooms.access.service import require
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.model import UploadSource
from trackside.rooms.deployments import errors, events, store
from trackside.rooms.deployments.converge import queueing
from trackside.rooms.deployments.converge.ending import end, has_taken_over, remove_all, supersede
from trackside.rooms.deployments.model import (
    ACTIVE,
    KEPT_IMAGES,
    UNFINISHED,
    Deployment,
    Place,
    Replica,
    ReplicaStatus,
    Status,
    Trigger,
)
from trackside.rooms.deployments.plan.images import kept_images
from trackside.rooms.deployments.service.orders import Order, as_builtins, as_dict, is_built, order_again, order_of
from trackside.rooms.deployments.store import projections, tables
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.errors import ConfigRefused
from trackside.rooms.projects.model import ServiceInstance

PROJECTIONS = projections.PROJECTIONS
"""How this room's events are folded; joined by bootstrap."""
READ_MODELS = Emptied(shared=tables.SHARED_READ_MODELS, workspace=tables.READ_MODELS)
"""What a replay empties and rebuilds."""


@dataclass(frozen=True)
class InstanceView:
    """A service instance as people see it: where it is, what serves, what is under way."""

    instance: ServiceInstance
    host: str | None
    latest: Deployment | None
    active: Deployment | None
    replicas: tuple[Replica, ...]
    place: Place | None = None
    """Where the latest stands in the build queue, while it waits there."""

    @property
    def counted(self) -> Deployment | None:
        """Whose replicas are told: the active deployment's; while none is (the first comes, or after a swap the old one
        drains), those of the one on its way."""
        if self.active is None and self.latest is not None and self.latest.status in UNFINISHED:
            return self.latest
        return self.active

    @property
    def healthy(self) -> int:
        """How many of them run."""
        return sum(
            r.status is ReplicaStatus.RUNNING and self.counted is not None and r.deployment_id == self.counted.id
            for r in self.replicas
        )


# --- reading ---


async def read_deployment(
    tx: Transaction, actor: Actor, deployment_id: UUID, permission: Permission = Permission.DEPLOYMENT_READ
) -> Deployment:
    """Errors: `DeploymentMissing`."""
    require(actor, permission, projects.scope(tx, "The deployment"))
    found = await store.deployment(tx, deployment_id)
    if found is None:
        raise errors.DeploymentMissing("The deployment does not exist.")
    return found


async def list_deployments(tx: Transaction, actor: Actor, instance_id: UUID, limit: int) -> list[Deployment]:
    """Newest first."""
    await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_READ)
    return await store.deployments_of(tx, instance_id, limit)


async def owners_of_logs(tx: Transaction) -> frozenset[UUID]:
    """The deployments and service instances of the bound workspace: whoever's logs are still somebody's."""
    return await store.owners_of_logs(tx) | await projects.all_instances(tx)


async def ids_of_deployments(tx: Transaction, instance_ids: Sequence[UUID]) -> list[UUID]:
    """The deployments of service instances that the caller may read."""
    return await store.ids_of_deployments(tx, instance_ids)


async def replicas_of(tx: Transaction, deployment_ids: Sequence[UUID]) -> list[Replica]:
    """Replicas of deployments that the caller may read."""
    return await store.replicas_of(tx, deployment_ids)


async def history(tx: Transaction, actor: Actor, deployment_id: UUID) -> list[stream.Recorded]:
    """The events of a deployment and its replicas, in order."""
    await read_deployment(tx, actor, deployment_id)
    return [recorded async for recorded in stream.read(tx, "workspace", subjects=[deployment_id])]


async def view_instances(tx: Transaction, actor: Actor, instances: Sequence[ServiceInstance]) -> list[InstanceView]:
    """Service instances with what serves them and what is under way."""
    require(actor, Permission.DEPLOYMENT_READ, projects.scope(tx, "The service"))
    ids = [instance.id for instance in instances]
    hosts = await networking.hosts_of(tx, ids)
    found = await store.latest_and_active(tx, ids)
    shown = {d.id for pair in found.values() for d in pair if d}
    replicas: dict[UUID, list[Replica]] = {}
    for replica in await store.replicas_of(tx, list(shown)):
        replicas.setdefault(replica.deployment_id, []).append(replica)
    places = await queueing.places_of(tx, [latest for latest, _ in found.values()])
    views: list[InstanceView] = []
    for instance in instances:
        latest, active = found.get(instance.id, (None, None))
        mine = tuple(r for one in dict.fromkeys(d.id for d in (latest, active) if d) for r in replicas.get(one, ()))
        host, place = next(iter(hosts.get(instance.id, [])), None), places.get(latest.id) if latest else None
        views.append(InstanceView(instance, host, latest, active, mine, place))
    return views


# --- asking for deployments ---


@dataclass(frozen=True)
class Asked:
    """What a deployment is asked for with: a source (None: the configured one), and parts of the config (build, deploy).

    Both become part of the config. `is_urgent`: its build goes before all others of the workspace.
    """

    source: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    is_urgent: bool = False


async def request_deployment(
    tx: Transaction,
    actor: Actor,
    addressing: Addressing,
    instance_id: UUID,
    asked: Asked,
) -> Deployment:
    """Deploy what was asked, with the newest config. Errors: `NothingToDeploy`, `ConfigRefused`."""
    source, settings = asked.source, asked.settings
    await stream.lock(tx)
    instance = await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_CREATE)
    patch = {**(settings or {}), **({"source": None} if source is not None else {})}
    for part in settings or {}:
        if part not in ("build", "deploy", "networking"):
            raise ConfigRefused(
                f"`settings.{part}` is not a part of a service's config; use build, deploy or networking."
            )
    if patch:
        await _commit(tx, actor, instance, patch)
    if source is not None:
        await _commit(tx, actor, instance, {"source": dict(source)})
    version, wanted = await projects.settings_at(tx, instance)
    if wanted.source is None:
        raise errors.NothingToDeploy("The service has no source yet.")
    builds.source_of(wanted.source)  # a patch of the config may have made it anything
    trigger = Trigger.DEPLOY if source is not None else Trigger.REDEPLOY
    order = replace(order_of(wanted, version, trigger, dict(wanted.source)), is_urgent=asked.is_urgent)
    return await _request(tx, addressing, instance, order)


async def _commit(tx: Transaction, actor: Actor, instance: ServiceInstance, patch: Mapping[str, Any]) -> None:
    await projects.commit_config(
        tx, actor, instance.environment_id, {"services": {str(instance.service_id): dict(patch)}}, "deploy"
    )


async def redeploy(
    tx: Transaction, actor: Actor, addressing: Addressing, deployment_id: UUID, *, is_urgent: bool = False
) -> Deployment:
    """The same source again with the newest config, built anew (from cache where nothing changed). Errors: `UploadGone`."""
    await stream.lock(tx)
    old = await read_deployment(tx, actor, deployment_id, Permission.DEPLOYMENT_CREATE)
    instance = await projects.read_instance(tx, actor, old.service_instance_id)
    version, wanted = await projects.settings_at(tx, instance)
    order = replace(order_of(wanted, version, Trigger.REDEPLOY, dict(old.source)), is_urgent=is_urgent)
    return await _request(tx, addressing, instance, order)


async def roll_back(
    tx: Transaction, actor: Actor, addressing: Addressing, deployment_id: UUID, *, keep: int = KEPT_IMAGES
) -> Deployment:
    """Make an earlier deployment's image, variables and settings serve again; nothing is built. Errors: `NotRollable`.

    The number of replicas is the one wanted now: going back to an old version must not shrink what carries today's load.
    `keep`: of how many deployments the installation keeps the image.
    """
    await stream.lock(tx)
    old = await read_deployment(tx, actor, deployment_id, Permission.DEPLOYMENT_CREATE)
    if old.image is None or not await store.has_served(tx, old.id):
        raise errors.NotRollable("This deployment never served, so there is nothing to go back to.")
    uses = await store.image_uses(tx, [old.service_instance_id], keep)
    if old.image.image_id not in kept_images(uses[old.service_instance_id], keep):
        raise errors.NotRollable("The image of this deployment is no longer kept.")
    instance = await projects.read_instance(tx, actor, old.service_instance_id)
    _, wanted = await projects.settings_at(tx, instance)
    order = replace(order_again(old, Trigger.ROLLBACK, rollback_of=old.id), replicas=wanted.deploy.replicas)
    return await _request(tx, addressing, instance, order)


async def restart(tx: Transaction, actor: Actor, addressing: Addressing, instance_id: UUID) -> Deployment:
    """Replace all replicas by fresh ones of the same image and variables, without losing a request. Errors: `NothingToDeploy`."""
    await stream.lock(tx)
    active = await active_deployment(tx, actor, instance_id, Permission.DEPLOYMENT_CREATE)
    instance = await projects.read_instance(tx, actor, instance_id)
    return await _request(tx, addressing, instance, order_again(active, Trigger.RESTART))


async def deploy_variables(
    tx: Transaction, actor: Actor, addressing: Addressing, instance_id: UUID, changed: Sequence[str]
) -> Deployment | None:
    """Deploy changed variables: the same image, unless its build read one of them; None where nothing serves or comes.

    What is on its way is deployed with them, not what it replaces: the newer source must not be lost.
    """
    await stream.lock(tx)
    instance = await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_CREATE)
    latest, active = await _latest_and_active(tx, instance_id)
    last = latest if latest and latest.status in UNFINISHED else active
    if last is None:
        return None
    version, wanted = await projects.settings_at(tx, instance)
    order = order_of(wanted, version, Trigger.VARIABLES, dict(last.source))
    # A start command that is no longer wanted may be what the image was built to start with.
    is_start_gone = last.settings.start_command is not None and order.settings.start_command is None
    if last.image and not is_start_gone and not {"*", *changed} & set(last.image.build_variables):
        order = replace(order, image=as_builtins(last.image), commit=as_dict(last.commit))
    return await _request(tx, addressing, instance, order)


async def active_deployment(
    tx: Transaction, actor: Actor, instance_id: UUID, permission: Permission = Permission.DEPLOYMENT_READ
) -> Deployment:
    """The deployment that holds the service instance; after a swap, while the old one drains, the new one.

    Errors: `NothingToDeploy`.
    """
    await projects.read_instance(tx, actor, instance_id, permission)
    latest, active = await _latest_and_active(tx, instance_id)
    if active is None and latest is not None and latest.status is Status.DEPLOYING and latest.image:
        return latest
    if active is None:
        hint = "Bring it back with `trackside redeploy` or `trackside rollback`." if latest else None
        raise errors.NothingToDeploy("The service has no active deployment.", hint=hint)
    return active


async def _latest_and_active(tx: Transaction, instance_id: UUID) -> tuple[Deployment | None, Deployment | None]:
    return (await store.latest_and_active(tx, [instance_id])).get(instance_id, (None, None))


async def _request(tx: Transaction, addressing: Addressing, instance: ServiceInstance, order: Order) -> Deployment:
    if is_built(order):
        await _check_source(tx, order.source)
    await networking.ensure_subnet(tx, addressing, instance.environment_id)
    await networking.ensure_host(tx, addressing, instance)
    deployment_id = new_id()
    place = await queueing.place_of(tx, instance, deployment_id, is_urgent=order.is_urgent) if is_built(order) else None
    superseded = await supersede(tx, instance.id, f"Superseded by {deployment_id} before it served.", deployment_id)
    await stream.record(
        tx,
        events.DeploymentRequested(
            deployment_id=deployment_id,
            service_instance_id=instance.id,
            trigger=str(order.trigger),
            source=order.source,
            config_version=order.config_version,
            settings=asdict(order.settings),
            build=order.build,
            variables={name: str(version) for name, version in order.variables.items()},
            replicas=order.replicas,
            rollback_of=order.rollback_of,
            image=order.image,
            commit=order.commit,
            priority=int(place.priority) if place else 0,
            queued_at=place.queued_at if place else None,
        ),
    )
    if order.image is not None:
        await stream.record(tx, events.DeploymentProgressed(deployment_id, str(Status.DEPLOYING)))
        await stream.record(tx, events.ImageReady(deployment_id, instance.id, order.image))
    else:
        await stream.record(tx, events.DeploymentProgressed(deployment_id, str(Status.QUEUED)))
    found = await store.deployment(tx, deployment_id)
    assert found is not None
    return replace(found, superseded=superseded)


async def _check_source(tx: Transaction, given: Mapping[str, Any]) -> None:
    """That what was accepted once can be built today. Errors: `SourceRefused`, `UploadGone`, `SecretInUrl`."""
    source = builds.source_of(given)
    if isinstance(source, UploadSource):
        await builds.upload_of(tx, source)


# --- changing what runs ---


async def cancel(tx: Transaction, actor: Actor, deployment_id: UUID) -> Deployment:
    """End a deployment that is under way; the old one goes on serving. Errors: `NotCancellable`."""
    await stream.lock(tx)
    deployment = await read_deployment(tx, actor, deployment_id, Permission.DEPLOYMENT_CANCEL)
    if deployment.status not in UNFINISHED:
        raise errors.NotCancellable(f"The deployment has ended already: it is {deployment.status}.")
    if await has_taken_over(tx, deployment):
        raise errors.NotCancellable("The deployment serves already.", hint="Go back with `trackside rollback`.")
    await end(tx, deployment, f"Cancelled by {actor.name}.")
    return await read_deployment(tx, actor, deployment_id)


async def scale(tx: Transaction, actor: Actor, instance_id: UUID, replicas: int) -> ServiceInstance:
    """Want that many replicas: of what serves, of what is on its way, and of what comes. Errors: `ConfigRefused`."""
    await stream.lock(tx)
    instance = await projects.read_instance(tx, actor, instance_id, Permission.SERVICE_WRITE)
    await _commit(tx, actor, instance, {"deploy": {"numReplicas": replicas}})
    for deployment in await store.unsettled(tx, instance_id):
        if deployment.status in UNFINISHED | ACTIVE and deployment.wanted_replicas != replicas:
            await stream.record(tx, events.ReplicasWanted(deployment.id, instance_id, replicas))
    return instance


async def take_down(tx: Transaction, actor: Actor, instance_id: UUID) -> ServiceInstance:
    """Remove the active deployment and whatever is under way; service and variables stay."""
    await stream.lock(tx)
    instance = await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_REMOVE)
    await remove_all(tx, instance_id, f"Taken down by {actor.name}.")
    return instance


def shown_replicas(view: InstanceView) -> tuple[int, int]:
    """(wanted, healthy) of what serves or comes, for people."""
    wanted = view.counted.wanted_replicas if view.counted else 0
    return wanted, view.healthy
