"""Every route of the REST door: nothing without a token, and nothing of another workspace. Generated from the routes."""

from typing import Any
from uuid import uuid4

from house.routes import BODIES, address, routes
from rest.client import Rest, told

OPEN = {("GET", "/v1/version")}


async def _everything(rest: Rest, instance: dict[str, Any]) -> list[Any]:
    """All that can be told of the workspace."""
    return [
        await rest.call("GET", "/v1/projects"),
        await rest.call("GET", f"/v1/environments/{instance['environment_id']}/config"),
        await rest.call("GET", f"/v1/service-instances/{instance['id']}/variables", params={"reveal": "true"}),
        await rest.call("GET", f"/v1/service-instances/{instance['id']}/deployments"),
    ]


async def test_no_route_answers_without_a_token(rest: Rest) -> None:
    instance = await rest.an_instance()
    deployment = await rest.deploy(instance["id"])
    before = await _everything(rest, instance)
    walked = 0
    for method, path, name in routes(rest.app):
        if (method, path) in OPEN:
            continue
        for headers in ({}, {"Authorization": "Bearer trackside_wrong"}):
            place = address(path, deployment, instance)
            response = await rest.client.request(method, place, headers=headers, **BODIES.get(name, {}))
            assert response.status_code == 401, (method, path, response.text)
            assert told(response)["code"] == "access.unauthenticated"
        walked += 1
    assert walked > 25
    assert await _everything(rest, instance) == before


async def test_every_route_is_missing_for_ids_of_another_workspace_and_for_ids_of_nothing(
    rest: Rest, stranger: Rest
) -> None:
    instance = await rest.an_instance()
    deployment = await rest.serve(await rest.deploy(instance["id"]))
    before = await _everything(rest, instance)
    nothing = {key: str(uuid4()) for key in ("id", "project_id", "environment_id", "service_id")}
    walked = 0
    for method, path, name in routes(rest.app):
        if "{" not in path:
            continue
        for place in (address(path, deployment, instance), address(path, {"id": str(uuid4())}, nothing)):
            error = await stranger.refused(method, place, 404, **BODIES.get(name, {}))
            assert error["kind"] == "missing"
            assert "shop" not in error["message"]
        walked += 1
    assert walked > 20
    assert await _everything(rest, instance) == before
    assert (await stranger.call("GET", "/v1/projects"))["projects"] == []


async def test_every_route_that_takes_a_body_is_walked_with_one(rest: Rest) -> None:
    paths = rest.app.openapi_schema.to_schema()["paths"]
    taking = {o["operationId"] for item in paths.values() for o in item.values() if "requestBody" in o}
    assert taking == set(BODIES)
