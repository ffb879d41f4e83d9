"""REST door of projects: environments, services, configuration. (Projects with what runs in them: see `deployments.rest`.)"""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Router, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import FromPath, JSONBody

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor
from trackside.rooms.projects import service
from trackside.rooms.projects.model import SETTINGS, Deletable, Environment, Service, Setting, SettingKind


class NewName(msgspec.Struct, forbid_unknown_fields=True):
    """The name of something to make."""

    name: str


class ConfigPatch(msgspec.Struct, forbid_unknown_fields=True):
    """A patch of an environment's config, which is `{"services": {<service id>: ServiceConfig}}`; null removes a key."""

    patch: dict[str, Any]
    message: str = ""


class ConfigShape(msgspec.Struct):
    """A version of an environment's config."""

    version: int
    config: dict[str, Any]


class EnvironmentList(msgspec.Struct):
    environments: list[Environment]


class ServiceList(msgspec.Struct):
    services: list[Service]


@get("/projects/{project_id:uuid}/environments")
async def list_environments(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], project_id: FromPath[UUID]
) -> EnvironmentList:
    """The project's environments."""
    return EnvironmentList(await service.list_environments(tx, actor, project_id))


@post("/projects/{project_id:uuid}/environments", status_code=201)
async def create_environment(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], project_id: FromPath[UUID], data: JSONBody[NewName]
) -> Environment:
    """Make an environment with an instance of every service."""
    return await service.create_environment(tx, actor, project_id, data.name)


@delete("/environments/{environment_id:uuid}", status_code=202)
async def delete_environment(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], environment_id: FromPath[UUID]
) -> None:
    """Delete an environment with all that runs in it."""
    await service.request_deletion(tx, actor, Deletable.ENVIRONMENT, environment_id)


@get("/projects/{project_id:uuid}/services")
async def list_services(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], project_id: FromPath[UUID]
) -> ServiceList:
    """The project's services."""
    return ServiceList(await service.list_services(tx, actor, project_id))


@post("/projects/{project_id:uuid}/services", status_code=201)
async def create_service(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], project_id: FromPath[UUID], data: JSONBody[NewName]
) -> Service:
    """Make a service, with an instance in every environment."""
    return await service.create_service(tx, actor, project_id, data.name)


@delete("/services/{service_id:uuid}", status_code=202)
async def delete_service(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], service_id: FromPath[UUID]
) -> None:
    """Delete a service with all that runs of it."""
    await service.request_deletion(tx, actor, Deletable.SERVICE, service_id)


@get("/environments/{environment_id:uuid}/config")
async def read_config(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], environment_id: FromPath[UUID]
) -> ConfigShape:
    """The newest version of the config."""
    found = await service.read_config(tx, actor, environment_id)
    return ConfigShape(found.version, found.config)


@patch("/environments/{environment_id:uuid}/config")
async def patch_config(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    environment_id: FromPath[UUID],
    data: JSONBody[ConfigPatch],
) -> ConfigShape:
    """Commit a patch as a new version."""
    found = await service.edit_config(tx, actor, environment_id, data.patch, data.message)
    return ConfigShape(found.version, found.config)


TYPES: dict[SettingKind, list[OpenAPIType]] = {
    SettingKind.TEXT: [OpenAPIType.STRING],
    SettingKind.PATH: [OpenAPIType.STRING],
    SettingKind.COMMAND: [OpenAPIType.STRING, OpenAPIType.ARRAY],
    SettingKind.CHOICE: [OpenAPIType.STRING],
    SettingKind.NUMBER: [OpenAPIType.NUMBER],
    SettingKind.WHOLE: [OpenAPIType.INTEGER],
    SettingKind.TEXTS: [OpenAPIType.OBJECT],
}


def service_config() -> Schema:
    """The settings of a service, as the OpenAPI description tells them: clients need no list of their own."""
    tree: dict[str, Any] = {}
    for key, setting in SETTINGS.items():
        *path, name = key.split(".")
        group = tree
        for part in path:
            group = group.setdefault(part, {})
        group[name] = _setting_schema(setting)
    tree["networking"] = {"serviceDomains": _domains_schema()}
    return _group_schema(tree)


def _group_schema(group: dict[str, Any]) -> Schema:
    properties = {name: part if isinstance(part, Schema) else _group_schema(part) for name, part in group.items()}
    return Schema(type=OpenAPIType.OBJECT, properties=dict(properties))


def _domains_schema() -> Schema:
    return Schema(
        type=OpenAPIType.OBJECT,
        description="Per domain the `port` it leads to; goes before `deploy.port`.",
        additional_properties=_group_schema({"port": _setting_schema(SETTINGS["deploy.port"])}),
    )


def _setting_schema(setting: Setting) -> Schema:
    types = TYPES[setting.kind]
    is_number = setting.kind in (SettingKind.NUMBER, SettingKind.WHOLE)
    return Schema(
        type=types if len(types) > 1 else types[0],
        description=setting.meaning,
        default=setting.default,
        enum=list(setting.choices) or None,
        minimum=setting.least if is_number else None,
        maximum=setting.most if is_number else None,
        items=Schema(type=OpenAPIType.STRING) if setting.kind is SettingKind.COMMAND else None,
        additional_properties=Schema(type=OpenAPIType.STRING) if setting.kind is SettingKind.TEXTS else None,
    )


router = Router(
    "/v1",
    route_handlers=[
        list_environments,
        create_environment,
        delete_environment,
        list_services,
        create_service,
        delete_service,
        read_config,
        patch_config,
    ],
    tags=["projects"],
)
