"""Use cases of projects: one function per verb, permission first.

Whoever reads in order to decide locks the stream first, before any row: so what was read still holds when the decision is
recorded, and nobody waits for each other in a circle.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.crypto import Keyring
from trackside.kit.db import Emptied, Transaction
from trackside.kit.ids import new_id
from trackside.rooms.access.model import Actor, Permission, Scope
from trackside.rooms.access.service import require
from trackside.rooms.projects import errors, events, plan, store
from trackside.rooms.projects.model import (
    PRODUCTION,
    ConfigVersion,
    Deletable,
    Deletion,
    Environment,
    Project,
    Service,
    ServiceInstance,
    ServiceSettings,
)

PROJECTIONS = store.PROJECTIONS
"""How this room's events are folded; joined by bootstrap."""
READ_MODELS = Emptied(shared=store.SHARED_READ_MODELS, workspace=store.READ_MODELS)
"""What a replay empties and rebuilds."""


def scope(tx: Transaction, what: str) -> Scope:
    """The scope of the bound workspace."""
    return Scope(tx.workspace, what)


# --- projects ---


async def list_projects(tx: Transaction, actor: Actor, name: str | None = None) -> list[Project]:
    """Every project, or the one of this name; text that is no name finds nothing."""
    require(actor, Permission.PROJECT_READ, scope(tx, "The workspace"))
    return await store.all_projects(tx, name) if name is None or plan.is_name(name) else []


async def read_project(tx: Transaction, actor: Actor, project_id: UUID) -> Project:
    """Errors: `ProjectMissing`."""
    require(actor, Permission.PROJECT_READ, scope(tx, "The project"))
    found = await store.project(tx, project_id)
    if found is None:
        raise errors.ProjectMissing("The project does not exist.")
    return found


async def create_project(tx: Transaction, actor: Actor, name: str) -> Project:
    """A project with the environment `production`. Errors: `NameRefused`, `NameTaken`."""
    require(actor, Permission.PROJECT_CREATE, scope(tx, "The workspace"))
    plan.check_name(name, "project")
    await stream.lock(tx)
    if await store.all_projects(tx, name):
        raise errors.NameTaken(f"There is a project `{name}` already.")
    project_id = new_id()
    await stream.record(
        tx,
        events.ProjectCreated(project_id, name),
        events.EnvironmentCreated(new_id(), project_id, PRODUCTION),
    )
    return await read_project(tx, actor, project_id)


# --- deleting ---


async def request_deletion(tx: Transaction, actor: Actor, kind: Deletable, subject_id: UUID) -> None:
    """Ask for a project, environment or service to go, with all it holds; it is hidden at once and cleared away after."""
    await stream.lock(tx)
    match kind:
        case Deletable.PROJECT:
            require(actor, Permission.PROJECT_DELETE, scope(tx, "The project"))
            await read_project(tx, actor, subject_id)
        case Deletable.ENVIRONMENT:
            require(actor, Permission.SERVICE_WRITE, scope(tx, "The environment"))
            await read_environment(tx, actor, subject_id)
        case Deletable.SERVICE:
            require(actor, Permission.SERVICE_WRITE, scope(tx, "The service"))
            await read_service(tx, actor, subject_id)
    await stream.record(tx, events.DeletionRequested(subject_id, str(kind)))


async def unfinished_deletions(tx: Transaction) -> list[Deletion]:
    """Deletions under way, of every workspace the transaction sees."""
    return await store.all_deletions(tx)


async def environments_to_delete(tx: Transaction, deletion: Deletion) -> list[UUID]:
    """The environments that go with a deletion."""
    return await store.environments_to_delete(tx, deletion.kind, deletion.subject_id)


async def instances_to_delete(tx: Transaction, deletion: Deletion) -> list[ServiceInstance]:
    """The service instances that go with a deletion."""
    match deletion.kind:
        case Deletable.PROJECT:
            return await store.instances(tx, project_id=deletion.subject_id)
        case Deletable.ENVIRONMENT:
            return await store.instances(tx, environment_id=deletion.subject_id)
        case Deletable.SERVICE:
            return await store.instances(tx, service_id=deletion.subject_id)


async def finish_deletion(tx: Transaction, deletion: Deletion) -> None:
    """Forget it; the caller has seen to it that nothing of it runs any more."""
    await stream.record(tx, events.DeletionFinished(deletion.subject_id, str(deletion.kind)))


# --- environments and services ---


async def list_environments(tx: Transaction, actor: Actor, project_id: UUID) -> list[Environment]:
    await read_project(tx, actor, project_id)
    return await store.environments_of(tx, project_id)


async def read_environment(tx: Transaction, actor: Actor, environment_id: UUID) -> Environment:
    """Errors: `EnvironmentMissing`."""
    require(actor, Permission.PROJECT_READ, scope(tx, "The environment"))
    found = await store.environment(tx, environment_id)
    if found is None:
        raise errors.EnvironmentMissing("The environment does not exist.")
    return found


async def create_environment(tx: Transaction, actor: Actor, project_id: UUID, name: str) -> Environment:
    """An environment with an instance of every service of the project. Errors: `NameRefused`, `NameTaken`."""
    require(actor, Permission.SERVICE_WRITE, scope(tx, "The project"))
    await stream.lock(tx)
    await read_project(tx, actor, project_id)
    plan.check_name(name, "environment")
    if any(other.name == name for other in await store.environments_of(tx, project_id)):
        raise errors.NameTaken(f"The project has an environment `{name}` already.")
    environment_id = new_id()
    await stream.record(tx, events.EnvironmentCreated(environment_id, project_id, name))
    for service in await store.services_of(tx, project_id):
        await stream.record(tx, events.ServiceInstanceCreated(new_id(), service.id, environment_id))
    return await read_environment(tx, actor, environment_id)


async def list_services(tx: Transaction, actor: Actor, project_id: UUID) -> list[Service]:
    await read_project(tx, actor, project_id)
    return await store.services_of(tx, project_id)


async def read_service(tx: Transaction, actor: Actor, service_id: UUID) -> Service:
    """Errors: `ServiceMissing`."""
    require(actor, Permission.PROJECT_READ, scope(tx, "The service"))
    found = await store.service(tx, service_id)
    if found is None:
        raise errors.ServiceMissing("The service does not exist.")
    return found


async def create_service(tx: Transaction, actor: Actor, project_id: UUID, name: str) -> Service:
    """A service, with an instance in every environment of the project. Errors: `NameRefused`, `NameTaken`."""
    require(actor, Permission.SERVICE_WRITE, scope(tx, "The project"))
    await stream.lock(tx)
    await read_project(tx, actor, project_id)
    plan.check_name(name, "service")
    if any(other.name == name for other in await store.services_of(tx, project_id)):
        raise errors.NameTaken(f"The project has a service `{name}` already.")
    service_id = new_id()
    await stream.record(tx, events.ServiceCreated(service_id, project_id, name))
    for environment in await store.environments_of(tx, project_id):
        await stream.record(tx, events.ServiceInstanceCreated(new_id(), service_id, environment.id))
    return await read_service(tx, actor, service_id)


async def find_instance(tx: Transaction, instance_id: UUID) -> ServiceInstance | None:
    """The service instance, for the platform's own use: no permission is asked."""
    return await store.instance(tx, instance_id)


async def read_instance(
    tx: Transaction, actor: Actor, instance_id: UUID, permission: Permission = Permission.PROJECT_READ
) -> ServiceInstance:
    """The service instance, where the actor has the permission on it. Errors: `ServiceMissing`, also while it is deleted."""
    require(actor, permission, scope(tx, "The service"))
    found = await store.shown_instance(tx, instance_id)
    if found is None:
        raise errors.ServiceMissing("The service does not exist in this environment.")
    return found


async def instances_of(tx: Transaction, instance_ids: Collection[UUID]) -> dict[UUID, ServiceInstance]:
    """Service instances by their ids, for use cases that have asked for permission."""
    return {instance.id: instance for instance in await store.instances_of(tx, instance_ids)}


async def all_instances(tx: Transaction) -> frozenset[UUID]:
    """Every service instance of the bound workspace, those being deleted included; for the platform's own use."""
    return frozenset(instance.id for instance in await store.instances(tx))


async def list_instances(tx: Transaction, project_id: UUID) -> list[ServiceInstance]:
    """Service instances of a project, for use cases that have asked for permission."""
    return await store.shown_instances(tx, project_id)


# --- configuration ---


async def read_config(tx: Transaction, actor: Actor, environment_id: UUID) -> ConfigVersion:
    """The newest version of the environment's config; values of variables are not in it."""
    require(actor, Permission.CONFIG_READ, scope(tx, "The environment"))
    await read_environment(tx, actor, environment_id)
    return await _newest(tx, environment_id)


async def commit_config(
    tx: Transaction, actor: Actor, environment_id: UUID, patch: Mapping[str, Any], message: str = ""
) -> ConfigVersion:
    """Apply a patch as a new version; null removes a key. Errors: `ConfigRefused`, `SecretInUrl`; then nothing is changed."""
    require(actor, Permission.CONFIG_WRITE, scope(tx, "The environment"))
    await stream.lock(tx)
    environment = await read_environment(tx, actor, environment_id)
    before = await _newest(tx, environment_id)
    plan.check_document({"patch": patch, "message": message})
    plan.check_sources(patch)
    merged = plan.merge(before.config, patch)
    await _check_config(tx, environment, patch, merged)
    if merged == before.config:
        return before
    await stream.record(tx, events.EnvironmentConfigCommitted(environment_id, before.version + 1, dict(patch), message))
    return await _newest(tx, environment_id)


async def edit_config(
    tx: Transaction, actor: Actor, environment_id: UUID, patch: Mapping[str, Any], message: str = ""
) -> ConfigVersion:
    """Apply a patch that people wrote. Errors: `ConfigRefused`; then nothing is changed."""
    require(actor, Permission.CONFIG_WRITE, scope(tx, "The environment"))
    await stream.lock(tx)
    plan.check_patch_of_people(patch, (await _newest(tx, environment_id)).config)
    return await commit_config(tx, actor, environment_id, patch, message)


async def settings_at(
    tx: Transaction, instance: ServiceInstance, version: int | None = None
) -> tuple[int, ServiceSettings]:
    """What a version of the config (None = the newest) says of a service instance, and that version's number."""
    found = await store.config_version(tx, instance.environment_id, version)
    if found is None:
        return 0, plan.settings_of({}, instance.service_id)
    return found.version, plan.settings_of(found.config, instance.service_id)


async def configured_sources(tx: Transaction) -> list[Mapping[str, Any]]:
    """The sources that the bound workspace's configs name now, for the platform's own use: no permission is asked."""
    return [source for version in await store.newest_configs(tx) for source in plan.sources_in(version.config)]


async def _newest(tx: Transaction, environment_id: UUID) -> ConfigVersion:
    return await store.config_version(tx, environment_id) or ConfigVersion(environment_id, 0, {})


async def _check_config(
    tx: Transaction, environment: Environment, patch: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """What the config says now of services that exist; the parts of deleted ones stay, and are read by nobody."""
    known = {str(service.id) for service in await store.services_of(tx, environment.project_id)}
    for service_id in set(plan.services_in(patch)) & set(plan.services_in(config)) - known:
        raise errors.ConfigRefused(f"`services.{service_id}`: the project has no such service.")
    secrets = set(plan.variables_of(config, {}).values())
    for service_id in known.intersection(plan.services_in(config)):
        settings = plan.settings_of(config, UUID(service_id))
        secrets |= {*settings.variables.values(), *plan.source_secrets(settings.source).values()}
    if await store.count_secrets(tx, secrets) != len(secrets):
        raise errors.ConfigRefused("A variable or source names a secret version that does not exist.")


# --- variables and secrets ---


class Vault:
    """Keeps secret values apart from everything else: sealed, append-only, named by version id."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def keep(self, tx: Transaction, value: str) -> UUID:
        """Store a value; the id of its version."""
        secret_id = new_id()
        await store.keep_secret(tx, secret_id, self._keyring.seal(value, f"{tx.workspace}/{secret_id}"))
        return secret_id

    async def open(self, tx: Transaction, secrets: Mapping[str, UUID]) -> dict[str, str]:
        """Values by name, for what must be given to a process or an audited reveal."""
        sealed = await store.secrets(tx, list(secrets.values()))
        return {
            name: self._keyring.open(sealed[version], f"{tx.workspace}/{version}") for name, version in secrets.items()
        }


async def list_variables(tx: Transaction, actor: Actor, instance_id: UUID) -> dict[str, UUID]:
    """Names with their secret versions; no values."""
    instance = await read_instance(tx, actor, instance_id, Permission.VARIABLE_READ)
    return dict((await settings_at(tx, instance))[1].variables)


async def reveal_variables(tx: Transaction, actor: Actor, vault: Vault, instance_id: UUID) -> dict[str, str]:
    """Names with values."""
    instance = await read_instance(tx, actor, instance_id, Permission.VARIABLE_REVEAL)
    return await vault.open(tx, (await settings_at(tx, instance))[1].variables)


async def change_variables(
    tx: Transaction, actor: Actor, vault: Vault, instance_id: UUID, changes: Mapping[str, str | None]
) -> Sequence[str]:
    """Set (text, byte-exact) or delete (None) variables as one config version; the names that really changed."""
    await stream.lock(tx)
    instance = await read_instance(tx, actor, instance_id, Permission.VARIABLE_WRITE)
    _, settings = await settings_at(tx, instance)
    present = await vault.open(tx, settings.variables)
    patch: dict[str, Any] = {}
    for name, value in changes.items():
        if value is None:
            plan.check_variable(name, "")
            if name in present:
                patch[name] = None
            continue
        plan.check_variable(name, value)
        if present.get(name) != value:
            patch[name] = {"secretVersion": str(await vault.keep(tx, value))}
    if patch:
        await commit_config(
            tx,
            actor,
            instance.environment_id,
            {"services": {str(instance.service_id): {"variables": patch}}},
            f"variables of {instance.service_name}: {', '.join(sorted(patch))}",
        )
    return sorted(patch)
