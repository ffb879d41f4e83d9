"""Tables of projects, in the schema of each workspace."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, distinct_on
from sqlalchemy.dialects.postgresql import UUID as Uuid

from trackside.kit.db import Transaction, among, platform_metadata, tenant_metadata
from trackside.kit.events import Projection, Recorded
from trackside.rooms.projects import events, plan
from trackside.rooms.projects.model import (
    ConfigVersion,
    Deletable,
    Deletion,
    Environment,
    Project,
    Service,
    ServiceInstance,
)

projects = Table(
    "projects",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("deleting_at", DateTime(timezone=True)),
    Index("projects_name", "name", unique=True, postgresql_where=text("deleting_at IS NULL")),
)
environments = Table(
    "environments",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("project_id", Uuid(as_uuid=True), ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("deleting_at", DateTime(timezone=True)),
    Index("environments_name", "project_id", "name", unique=True, postgresql_where=text("deleting_at IS NULL")),
)
services = Table(
    "services",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("project_id", Uuid(as_uuid=True), ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("deleting_at", DateTime(timezone=True)),
    Index("services_name", "project_id", "name", unique=True, postgresql_where=text("deleting_at IS NULL")),
)
service_instances = Table(
    "service_instances",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("service_id", Uuid(as_uuid=True), ForeignKey(services.c.id, ondelete="CASCADE"), nullable=False),
    Column("environment_id", Uuid(as_uuid=True), ForeignKey(environments.c.id, ondelete="CASCADE"), nullable=False),
    UniqueConstraint("service_id", "environment_id"),
)
config_versions = Table(
    "config_versions",
    tenant_metadata,
    Column("environment_id", Uuid(as_uuid=True), ForeignKey(environments.c.id, ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("config", JSONB, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
secret_versions = Table(
    "secret_versions",
    tenant_metadata,
    Column("id", Uuid(as_uuid=True), primary_key=True),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
deletions = Table(
    "deletions",
    platform_metadata,
    Column("subject_id", Uuid(as_uuid=True), primary_key=True),
    Column("workspace_id", Uuid(as_uuid=True), nullable=False),
    Column("kind", Text, nullable=False),
)
SHARED_READ_MODELS = (deletions,)
READ_MODELS = (config_versions, service_instances, services, environments, projects)


async def _project_created(tx: Transaction, recorded: Recorded) -> None:
    event: events.ProjectCreated = recorded.event
    await tx.connection.execute(insert(projects).values(id=event.project_id, name=event.name, created_at=recorded.at))


async def _environment_created(tx: Transaction, recorded: Recorded) -> None:
    event: events.EnvironmentCreated = recorded.event
    await tx.connection.execute(
        insert(environments).values(
            id=event.environment_id, project_id=event.project_id, name=event.name, created_at=recorded.at
        )
    )
    await tx.connection.execute(
        insert(config_versions).values(
            environment_id=event.environment_id, version=0, config={}, message="", created_at=recorded.at
        )
    )


async def _service_created(tx: Transaction, recorded: Recorded) -> None:
    event: events.ServiceCreated = recorded.event
    await tx.connection.execute(
        insert(services).values(
            id=event.service_id, project_id=event.project_id, name=event.name, created_at=recorded.at
        )
    )


_TABLES = {Deletable.PROJECT: projects, Deletable.ENVIRONMENT: environments, Deletable.SERVICE: services}


async def _deletion_requested(tx: Transaction, recorded: Recorded) -> None:
    event: events.DeletionRequested = recorded.event
    table = _TABLES[Deletable(event.kind)]
    await tx.connection.execute(update(table).where(table.c.id == event.subject_id).values(deleting_at=recorded.at))
    await tx.connection.execute(
        insert(deletions).values(subject_id=event.subject_id, workspace_id=tx.workspace, kind=event.kind)
    )


async def _deletion_finished(tx: Transaction, recorded: Recorded) -> None:
    event: events.DeletionFinished = recorded.event
    table = _TABLES[Deletable(event.kind)]
    await tx.connection.execute(delete(table).where(table.c.id == event.subject_id))
    await tx.connection.execute(delete(deletions).where(deletions.c.subject_id == event.subject_id))


async def _service_instance_created(tx: Transaction, recorded: Recorded) -> None:
    event: events.ServiceInstanceCreated = recorded.event
    await tx.connection.execute(
        insert(service_instances).values(
            id=event.service_instance_id, service_id=event.service_id, environment_id=event.environment_id
        )
    )


async def _config_committed(tx: Transaction, recorded: Recorded) -> None:
    event: events.EnvironmentConfigCommitted = recorded.event
    before = await config_version(tx, event.environment_id, event.config_version - 1)
    await tx.connection.execute(
        insert(config_versions).values(
            environment_id=event.environment_id,
            version=event.config_version,
            config=plan.merge(before.config if before else {}, event.patch),
            message=event.message,
            created_at=recorded.at,
        )
    )


PROJECTIONS: dict[type, Projection] = {
    events.ProjectCreated: _project_created,
    events.EnvironmentCreated: _environment_created,
    events.ServiceCreated: _service_created,
    events.DeletionRequested: _deletion_requested,
    events.DeletionFinished: _deletion_finished,
    events.ServiceInstanceCreated: _service_instance_created,
    events.EnvironmentConfigCommitted: _config_committed,
}


def _shown(table: Table, *columns: Any) -> Any:
    """Rows that are not being deleted."""
    return select(*columns).where(table.c.deleting_at.is_(None))


def _in_shown_project(table: Table, *columns: Any) -> Any:
    """The same for what goes with its project."""
    query = _shown(table, *columns).join(projects, projects.c.id == table.c.project_id)
    return query.where(projects.c.deleting_at.is_(None))


def _projects() -> Any:
    return _shown(projects, projects.c.id, projects.c.name, projects.c.created_at)


def _environments() -> Any:
    columns = (environments.c.id, environments.c.project_id, environments.c.name, environments.c.created_at)
    return _in_shown_project(environments, *columns)


def _services() -> Any:
    columns = (services.c.id, services.c.project_id, services.c.name, services.c.created_at)
    return _in_shown_project(services, *columns)


async def all_deletions(tx: Transaction) -> list[Deletion]:
    """Deletions that are not finished, of every workspace the transaction sees."""
    rows = await tx.connection.execute(select(deletions))
    return [Deletion(row.workspace_id, Deletable(row.kind), row.subject_id) for row in rows]


async def environments_to_delete(tx: Transaction, kind: Deletable, subject_id: UUID) -> list[UUID]:
    """The environments that go with it."""
    column = {Deletable.PROJECT: environments.c.project_id, Deletable.ENVIRONMENT: environments.c.id}.get(kind)
    if column is None:
        return []
    return list((await tx.connection.execute(select(environments.c.id).where(column == subject_id))).scalars())


async def all_projects(tx: Transaction, name: str | None = None) -> list[Project]:
    query = _projects().order_by(projects.c.created_at, projects.c.id)
    if name is not None:
        query = query.where(projects.c.name == name)
    return [Project(**row) for row in (await tx.connection.execute(query)).mappings()]


async def project(tx: Transaction, project_id: UUID) -> Project | None:
    row = (await tx.connection.execute(_projects().where(projects.c.id == project_id))).mappings().first()
    return Project(**row) if row else None


async def environments_of(tx: Transaction, project_id: UUID) -> list[Environment]:
    query = _environments().where(environments.c.project_id == project_id).order_by(environments.c.created_at)
    return [Environment(**row) for row in (await tx.connection.execute(query)).mappings()]


async def environment(tx: Transaction, environment_id: UUID) -> Environment | None:
    query = _environments().where(environments.c.id == environment_id)
    row = (await tx.connection.execute(query)).mappings().first()
    return Environment(**row) if row else None


async def services_of(tx: Transaction, project_id: UUID) -> list[Service]:
    query = _services().where(services.c.project_id == project_id).order_by(services.c.created_at)
    return [Service(**row) for row in (await tx.connection.execute(query)).mappings()]


async def service(tx: Transaction, service_id: UUID) -> Service | None:
    row = (await tx.connection.execute(_services().where(services.c.id == service_id))).mappings().first()
    return Service(**row) if row else None


def _instances() -> Any:
    return (
        select(
            service_instances.c.id,
            service_instances.c.service_id,
            services.c.name.label("service_name"),
            service_instances.c.environment_id,
            environments.c.name.label("environment_name"),
            services.c.project_id,
            projects.c.name.label("project_name"),
        )
        .join(services, services.c.id == service_instances.c.service_id)
        .join(environments, environments.c.id == service_instances.c.environment_id)
        .join(projects, projects.c.id == services.c.project_id)
        .order_by(services.c.created_at, service_instances.c.id)
    )


async def instance(tx: Transaction, instance_id: UUID) -> ServiceInstance | None:
    query = _instances().where(service_instances.c.id == instance_id)
    row = (await tx.connection.execute(query)).mappings().first()
    return ServiceInstance(**row) if row else None


_IS_SHOWN = (services.c.deleting_at.is_(None), environments.c.deleting_at.is_(None), projects.c.deleting_at.is_(None))


async def shown_instance(tx: Transaction, instance_id: UUID) -> ServiceInstance | None:
    """The service instance, unless it or what holds it is being deleted."""
    query = _instances().where(service_instances.c.id == instance_id, *_IS_SHOWN)
    row = (await tx.connection.execute(query)).mappings().first()
    return ServiceInstance(**row) if row else None


async def shown_instances(tx: Transaction, project_id: UUID) -> list[ServiceInstance]:
    """The project's service instances, without those being deleted."""
    query = _instances().where(services.c.project_id == project_id, *_IS_SHOWN)
    return [ServiceInstance(**row) for row in (await tx.connection.execute(query)).mappings()]


async def instances_of(tx: Transaction, instance_ids: Collection[UUID]) -> list[ServiceInstance]:
    """The service instances of these ids, those being deleted included."""
    query = _instances().where(among(service_instances.c.id, instance_ids))
    return [ServiceInstance(**row) for row in (await tx.connection.execute(query)).mappings()]


async def instances(
    tx: Transaction,
    *,
    project_id: UUID | None = None,
    environment_id: UUID | None = None,
    service_id: UUID | None = None,
) -> list[ServiceInstance]:
    query = _instances()
    if project_id is not None:
        query = query.where(services.c.project_id == project_id)
    if environment_id is not None:
        query = query.where(service_instances.c.environment_id == environment_id)
    if service_id is not None:
        query = query.where(service_instances.c.service_id == service_id)
    return [ServiceInstance(**row) for row in (await tx.connection.execute(query)).mappings()]


async def config_version(tx: Transaction, environment_id: UUID, version: int | None = None) -> ConfigVersion | None:
    """A version of the config; None = the newest."""
    query = select(config_versions).where(config_versions.c.environment_id == environment_id)
    if version is None:
        query = query.order_by(config_versions.c.version.desc()).limit(1)
    else:
        query = query.where(config_versions.c.version == version)
    row = (await tx.connection.execute(query)).mappings().first()
    return ConfigVersion(row["environment_id"], row["version"], row["config"]) if row else None


async def newest_configs(tx: Transaction) -> list[ConfigVersion]:
    """Of every environment of the bound workspace."""
    columns = config_versions.c
    query = (
        select(config_versions)
        .order_by(columns.environment_id, columns.version.desc())
        .ext(distinct_on(columns.environment_id))
    )
    rows = (await tx.connection.execute(query)).mappings()
    return [ConfigVersion(row["environment_id"], row["version"], row["config"]) for row in rows]


async def keep_secret(tx: Transaction, secret_id: UUID, ciphertext: bytes) -> None:
    await tx.connection.execute(insert(secret_versions).values(id=secret_id, ciphertext=ciphertext))


async def count_secrets(tx: Transaction, secret_ids: Collection[UUID]) -> int:
    """How many of them there are."""
    query = select(func.count()).select_from(secret_versions).where(among(secret_versions.c.id, secret_ids))
    return (await tx.connection.execute(query)).scalar_one()


async def secrets(tx: Transaction, secret_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    query = select(secret_versions.c.id, secret_versions.c.ciphertext).where(among(secret_versions.c.id, secret_ids))
    return {row.id: row.ciphertext for row in await tx.connection.execute(query)}
