"""Use cases of deployments: one function per verb, permission first."""

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
from trackside.rooms.deployments.converge.ending import end, remove_all, supersede
from trackside.rooms.deployments.model import (
    ACTIVE,
    KEPT_IMAGES,
    UNFINISHED,
    Deployment,
    Replica,
    ReplicaStatus,
    Settings,
    Status,
    Trigger,
)
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.errors import ConfigRefused
from trackside.rooms.projects.model import DeploySettings, ServiceInstance, ServiceSettings

PROJECTIONS = store.PROJECTIONS
"""How this room's events are folded; joined by bootstrap."""
READ_MODELS = Emptied(shared=store.SHARED_READ_MODELS, workspace=store.READ_MODELS)
"""What a replay empties and rebuilds."""


@dataclass(frozen=True)
class InstanceView:
    """A service instance as people see it: where it is, what serves, what is under way."""

    instance: ServiceInstance
    host: str | None
    latest: Deployment | None
    active: Deployment | None
    replicas: tuple[Replica, ...]

    @property
    def healthy(self) -> int:
        """Replicas of the active deployment that run."""
        return sum(
            r.status is ReplicaStatus.RUNNING and self.active is not None and r.deployment_id == self.active.id
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
    replicas = await store.replicas_of(tx, list(shown))
    views: list[InstanceView] = []
    for instance in instances:
        latest, active = found.get(instance.id, (None, None))
        mine = tuple(r for r in replicas if any(d and r.deployment_id == d.id for d in (latest, active)))
        views.append(InstanceView(instance, next(iter(hosts.get(instance.id, [])), None), latest, active, mine))
    return views


# --- asking for deployments ---


@dataclass(frozen=True)
class Asked:
    """What a deployment is asked for with: a source (None: the configured one), and parts of the config (build, deploy).

    Both become part of the config.
    """

    source: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None


async def request_deployment(
    tx: Transaction,
    actor: Actor,
    addressing: Addressing,
    instance_id: UUID,
    asked: Asked,
) -> Deployment:
    """Deploy what was asked, with the newest config. Errors: `NothingToDeploy`, `ConfigRefused`."""
    source, settings = asked.source, asked.settings
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
    trigger = Trigger.DEPLOY if source is not None else Trigger.REDEPLOY
    return await _request(tx, addressing, instance, _order(wanted, version, trigger, dict(wanted.source)))


async def accept_source(
    tx: Transaction, vault: projects.Vault, given: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The source as the config keeps it: checked, and with a token or key put into the vault. Errors: `SourceRefused`."""
    if given is None:
        return None
    source = {key: value for key, value in given.items() if key not in ("token", "private_key") and value is not None}
    for key, name in (("token", "token_secret"), ("private_key", "key_secret")):
        if isinstance(given.get(key), str) and given[key]:
            source[name] = str(await vault.keep(tx, given[key]))
    checked = builds.source_of(source)
    if isinstance(checked, UploadSource):
        await builds.upload_of(tx, checked)
    return source


async def _commit(tx: Transaction, actor: Actor, instance: ServiceInstance, patch: Mapping[str, Any]) -> None:
    await projects.commit_config(
        tx, actor, instance.environment_id, {"services": {str(instance.service_id): dict(patch)}}, "deploy"
    )


async def redeploy(tx: Transaction, actor: Actor, addressing: Addressing, deployment_id: UUID) -> Deployment:
    """The same source again with the newest config, built anew (from cache where nothing changed)."""
    old = await read_deployment(tx, actor, deployment_id, Permission.DEPLOYMENT_CREATE)
    instance = await projects.read_instance(tx, actor, old.service_instance_id)
    version, wanted = await projects.settings_at(tx, instance)
    order = _order(wanted, version, Trigger.REDEPLOY, dict(old.source))
    return await _request(tx, addressing, instance, order)


async def roll_back(tx: Transaction, actor: Actor, addressing: Addressing, deployment_id: UUID) -> Deployment:
    """Make an earlier deployment's image, variables and settings serve again; nothing is built. Errors: `NotRollable`."""
    old = await read_deployment(tx, actor, deployment_id, Permission.DEPLOYMENT_CREATE)
    if old.image is None or not await store.has_served(tx, old.id):
        raise errors.NotRollable("This deployment never served, so there is nothing to go back to.")
    kept = await store.images_to_keep(tx, old.service_instance_id, KEPT_IMAGES)
    if all(image_id != old.image.image_id for _, image_id in kept):
        raise errors.NotRollable("The image of this deployment is no longer kept.")
    instance = await projects.read_instance(tx, actor, old.service_instance_id)
    return await _request(tx, addressing, instance, _again(old, Trigger.ROLLBACK, rollback_of=old.id))


async def restart(tx: Transaction, actor: Actor, addressing: Addressing, instance_id: UUID) -> Deployment:
    """Replace all replicas by fresh ones of the same image and variables, without losing a request. Errors: `NothingToDeploy`."""
    active = await active_deployment(tx, actor, instance_id, Permission.DEPLOYMENT_CREATE)
    instance = await projects.read_instance(tx, actor, instance_id)
    return await _request(tx, addressing, instance, _again(active, Trigger.RESTART))


async def deploy_variables(
    tx: Transaction, actor: Actor, addressing: Addressing, instance_id: UUID, changed: Sequence[str]
) -> Deployment | None:
    """Deploy changed variables: the same image, unless its build read one of them; None where nothing serves."""
    instance = await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_CREATE)
    _, active = (await store.latest_and_active(tx, [instance_id])).get(instance_id, (None, None))
    if active is None:
        return None
    version, wanted = await projects.settings_at(tx, instance)
    order = _order(wanted, version, Trigger.VARIABLES, dict(active.source))
    if active.image and not {"*", *changed} & set(active.image.build_variables):
        order = replace(order, image=_builtins(active.image), commit=_dict(active.commit))
    return await _request(tx, addressing, instance, order)


async def active_deployment(
    tx: Transaction, actor: Actor, instance_id: UUID, permission: Permission = Permission.DEPLOYMENT_READ
) -> Deployment:
    """The deployment that holds the service instance. Errors: `NothingToDeploy`."""
    await projects.read_instance(tx, actor, instance_id, permission)
    _, active = (await store.latest_and_active(tx, [instance_id])).get(instance_id, (None, None))
    if active is None:
        raise errors.NothingToDeploy("The service has no active deployment.")
    return active


@dataclass(frozen=True)
class _Order:
    trigger: Trigger
    source: dict[str, Any]
    config_version: int
    settings: Settings
    build: dict[str, Any]
    variables: dict[str, UUID]
    replicas: int
    rollback_of: UUID | None = None
    image: dict[str, Any] | None = None
    commit: dict[str, str] | None = None


def _order(wanted: ServiceSettings, version: int, trigger: Trigger, source: dict[str, Any]) -> _Order:
    return _Order(
        trigger=trigger,
        source=source,
        config_version=version,
        settings=_settings(wanted.deploy),
        build=dict(wanted.build),
        variables=dict(wanted.variables),
        replicas=wanted.deploy.replicas,
    )


def _settings(deploy: DeploySettings) -> Settings:
    """The config's deploy settings, as a deployment keeps them (the number of replicas lives on by itself)."""
    values = asdict(deploy)
    del values["replicas"]
    return Settings(**values)


def _again(old: Deployment, trigger: Trigger, rollback_of: UUID | None = None) -> _Order:
    return _Order(
        trigger=trigger,
        source=dict(old.source),
        config_version=old.config_version,
        settings=old.settings,
        build=dict(old.build),
        variables=dict(old.variables),
        replicas=old.wanted_replicas,
        rollback_of=rollback_of,
        image=_builtins(old.image),
        commit=_dict(old.commit),
    )


def _builtins(value: Any) -> dict[str, Any] | None:
    return asdict(value) if value is not None else None


def _dict(value: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(value) if value is not None else None


async def _request(tx: Transaction, addressing: Addressing, instance: ServiceInstance, order: _Order) -> Deployment:
    await networking.ensure_subnet(tx, addressing, instance.environment_id)
    await networking.ensure_host(tx, addressing, instance)
    deployment_id = new_id()
    await supersede(tx, instance.id, f"Superseded by {deployment_id} before it served.")
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
        ),
    )
    if order.image is not None:
        await stream.record(tx, events.DeploymentProgressed(deployment_id, str(Status.DEPLOYING)))
        await stream.record(tx, events.ImageReady(deployment_id, instance.id, order.image))
    else:
        await stream.record(tx, events.DeploymentProgressed(deployment_id, str(Status.QUEUED)))
    found = await store.deployment(tx, deployment_id)
    assert found is not None
    return found


# --- changing what runs ---


async def cancel(tx: Transaction, actor: Actor, deployment_id: UUID) -> Deployment:
    """End a deployment that is under way; the old one goes on serving. Errors: `NotCancellable`."""
    deployment = await read_deployment(tx, actor, deployment_id, Permission.DEPLOYMENT_CANCEL)
    if deployment.status not in UNFINISHED:
        raise errors.NotCancellable(f"The deployment has ended already: it is {deployment.status}.")
    route = await networking.route_of(tx, deployment.service_instance_id)
    if route and route[1] == deployment.id:
        raise errors.NotCancellable("The deployment serves already.", hint="Go back with `trackside rollback`.")
    await end(tx, deployment, f"Cancelled by {actor.name}.")
    return await read_deployment(tx, actor, deployment_id)


async def scale(tx: Transaction, actor: Actor, instance_id: UUID, replicas: int) -> ServiceInstance:
    """Want that many replicas: of what serves, of what is on its way, and of what comes. Errors: `ConfigRefused`."""
    instance = await projects.read_instance(tx, actor, instance_id, Permission.SERVICE_WRITE)
    await _commit(tx, actor, instance, {"deploy": {"numReplicas": replicas}})
    for deployment in await store.unsettled(tx, instance_id):
        if deployment.status in UNFINISHED | ACTIVE and deployment.wanted_replicas != replicas:
            await stream.record(tx, events.ReplicasWanted(deployment.id, instance_id, replicas))
    return instance


async def take_down(tx: Transaction, actor: Actor, instance_id: UUID) -> ServiceInstance:
    """Remove the active deployment and whatever is under way; service and variables stay."""
    instance = await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_REMOVE)
    await remove_all(tx, instance_id, f"Taken down by {actor.name}.")
    return instance


def shown_replicas(view: InstanceView) -> tuple[int, int]:
    """(wanted, healthy) of the active deployment, for people."""
    wanted = view.active.wanted_replicas if view.active else 0
    return wanted, view.healthy
