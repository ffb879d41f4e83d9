"""Projects with their environments, services and what runs."""

from uuid import UUID

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from trackside.kit.db import Transaction
from trackside.rooms.access.model import Actor
from trackside.rooms.deployments import service
from trackside.rooms.deployments.rest.shapes import ProjectShape, instance_shape, project_shape
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletable, Project
from trackside.rooms.projects.rest import NewName


class ProjectList(msgspec.Struct):
    projects: list[ProjectShape]


async def _shape(tx: Transaction, actor: Actor, public: str, project: Project) -> ProjectShape:
    instances = await projects.list_instances(tx, project.id)
    views = await service.view_instances(tx, actor, instances)
    return project_shape(
        project,
        tx.workspace,
        await projects.list_environments(tx, actor, project.id),
        await projects.list_services(tx, actor, project.id),
        [instance_shape(view, public) for view in views],
    )


@get("/projects")
async def list_projects(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    name: FromQuery[str | None] = None,
) -> ProjectList:
    """Every project of the workspace, or the one of this name."""
    found = await projects.list_projects(tx, actor, name)
    return ProjectList([await _shape(tx, actor, public, project) for project in found])


@post("/projects", status_code=201)
async def create_project(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    data: JSONBody[NewName],
) -> ProjectShape:
    """Make a project, with the environment `production`."""
    return await _shape(tx, actor, public, await projects.create_project(tx, actor, data.name))


@get("/projects/{project_id:uuid}")
async def read_project(
    tx: NamedDependency[Transaction],
    actor: NamedDependency[Actor],
    public: NamedDependency[str],
    project_id: FromPath[UUID],
) -> ProjectShape:
    """One project."""
    return await _shape(tx, actor, public, await projects.read_project(tx, actor, project_id))


@delete("/projects/{project_id:uuid}", status_code=202)
async def delete_project(
    tx: NamedDependency[Transaction], actor: NamedDependency[Actor], project_id: FromPath[UUID]
) -> None:
    """Delete a project with all that runs in it."""
    await projects.request_deletion(tx, actor, Deletable.PROJECT, project_id)


HANDLERS = (list_projects, create_project, read_project, delete_project)
