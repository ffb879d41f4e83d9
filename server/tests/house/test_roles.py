"""Every route of the REST door against every role: what a role sees but may not do is denied, and nothing has happened."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from conftest import Platform
from house.routes import BODIES, address, routes
from rest.client import VERSION, Rest, make_app
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.entry.rest.envelope import Envelope
from trackside.rooms.access.model import ROLES, Actor, ActorKind, Grant, Permission, Role

# What each handler asks for.
ASKED = {
    "list_projects": Permission.PROJECT_READ,
    "create_project": Permission.PROJECT_CREATE,
    "read_project": Permission.PROJECT_READ,
    "delete_project": Permission.PROJECT_DELETE,
    "list_environments": Permission.PROJECT_READ,
    "create_environment": Permission.SERVICE_WRITE,
    "delete_environment": Permission.SERVICE_WRITE,
    "list_services": Permission.PROJECT_READ,
    "create_service": Permission.SERVICE_WRITE,
    "delete_service": Permission.SERVICE_WRITE,
    "read_config": Permission.CONFIG_READ,
    "patch_config": Permission.CONFIG_WRITE,
    "read_instance": Permission.DEPLOYMENT_READ,
    "upload": Permission.DEPLOYMENT_CREATE,
    "request_deployment": Permission.DEPLOYMENT_CREATE,
    "list_deployments": Permission.DEPLOYMENT_READ,
    "scale": Permission.SERVICE_WRITE,
    "restart": Permission.DEPLOYMENT_CREATE,
    "take_down": Permission.DEPLOYMENT_REMOVE,
    "change_variables": Permission.VARIABLE_WRITE,
    "list_variables": Permission.VARIABLE_READ,
    "reveal_variables": Permission.VARIABLE_REVEAL,
    "read_deployment": Permission.DEPLOYMENT_READ,
    "read_events": Permission.DEPLOYMENT_READ,
    "roll_back": Permission.DEPLOYMENT_CREATE,
    "redeploy": Permission.DEPLOYMENT_CREATE,
    "cancel": Permission.DEPLOYMENT_CANCEL,
    "read_logs": Permission.LOG_READ,
    "list_events": Permission.EVENT_READ,
    "explain_deployment": Permission.DEPLOYMENT_READ,
    "read_build_queue": Permission.DEPLOYMENT_READ,
}
FOR_ALL = {"read_version", "read_me"}
NOT_AT_THIS_DOOR = {Permission.TOKEN_CREATE}  # tokens are made on the host


@dataclass
class Play:
    """The role that whoever asks has now."""

    role: Role = Role.OWNER


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
async def rest(platform: Platform, tmp_path: Path, play: Play) -> AsyncIterator[Rest]:
    """Somebody of the workspace whose role the test sets."""

    async def actor_of() -> Actor:
        return Actor("somebody", ActorKind.PERSON, "somebody", (Grant(platform.workspace_id, play.role),))

    log_store = MemoryLogStore()
    app = make_app(platform, log_store, tmp_path, actor_of=actor_of)
    transport = ASGITransport(Envelope(app, VERSION), raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield Rest(app, client, platform, log_store, "", platform.workspace_id)


async def everything(rest: Rest, play: Play, instance: dict[str, Any]) -> list[Any]:
    role, play.role = play.role, Role.OWNER
    answers = [
        await rest.call("GET", f"/v1/projects/{instance['project_id']}"),
        await rest.call("GET", "/v1/projects"),
        await rest.call("GET", f"/v1/environments/{instance['environment_id']}/config"),
        await rest.call("GET", f"/v1/service-instances/{instance['id']}/variables", params={"reveal": "true"}),
        await rest.call("GET", f"/v1/service-instances/{instance['id']}/deployments"),
    ]
    play.role = role
    return answers


def calls(rest: Rest) -> list[tuple[str, str, Permission, dict[str, Any]]]:
    """(method, path, what it takes, request) of every route that asks for a permission."""
    found = [(m, path, ASKED[name], BODIES.get(name, {})) for m, path, name in routes(rest.app) if name not in FOR_ALL]
    reveal = {"params": {"reveal": "true"}}
    return [*found, ("GET", "/v1/service-instances/{instance_id}/variables", ASKED["reveal_variables"], reveal)]


async def test_every_route_says_what_it_asks_for(rest: Rest) -> None:
    assert {name for _, _, name in routes(rest.app)} == (set(ASKED) - {"reveal_variables"}) | FOR_ALL
    assert set(ASKED.values()) == set(Permission) - NOT_AT_THIS_DOOR


@pytest.mark.parametrize("role", [Role.MEMBER, Role.DEPLOYER, Role.VIEWER])
async def test_what_a_role_may_not_do_is_denied_and_does_not_happen(rest: Rest, play: Play, role: Role) -> None:
    instance = await rest.an_instance()
    deployment = await rest.serve(await rest.deploy(instance["id"]))
    before = await everything(rest, play, instance)
    denied = [call for call in calls(rest) if call[2] not in ROLES[role]]
    assert denied
    play.role = role
    for method, path, _, request in denied:
        error = await rest.refused(method, address(path, deployment, instance), 403, **request)
        assert (error["code"], error["kind"]) == ("access.denied", "denied"), (method, path)
        assert error["message"].startswith("Your role does not allow "), (method, path)
    assert await everything(rest, play, instance) == before


@pytest.mark.parametrize("role", Role)
async def test_what_a_role_may_do_is_not_denied(rest: Rest, play: Play, role: Role) -> None:
    """What deletes comes last."""
    instance = await rest.an_instance()
    deployment = await rest.serve(await rest.deploy(instance["id"]))
    allowed = [call for call in calls(rest) if call[2] in ROLES[role]]
    allowed.sort(key=lambda call: (call[0] == "DELETE", "projects/{project_id}" in call[1] and call[0] == "DELETE"))
    for method, path, _, request in allowed:
        play.role = role
        response = await rest.send(method, address(path, deployment, instance), **request)
        assert response.status_code in (200, 201, 202, 204, 400, 409), (method, path, response.text)
    assert len(allowed) > 5
