"""Images by their content at the REST door: a workspace deploys what it had before, and nothing that another one brought."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx import ASGITransport, AsyncClient

from rest.client import VERSION, Rest, make_app
from trackside.entry.rest.envelope import Envelope
from trackside.rooms.deployments import events
from trackside.rooms.deployments.model import Status

CONTENT_ID = "sha256:" + "1a" * 32
REGISTRY_DIGEST = "sha256:" + "2b" * 32
BY_CONTENT_ID = {"kind": "image", "reference": CONTENT_ID}


@pytest.fixture
async def open_rest(rest: Rest, tmp_path: Path) -> AsyncIterator[Rest]:
    """The same caller where the operator allows every image on the engine."""
    app = make_app(rest.platform, rest.log_store, tmp_path, allow_engine_images=True)
    transport = ASGITransport(Envelope(app, VERSION), raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield replace(rest, app=app, client=client)


async def a_deployment_with_the_image(rest: Rest) -> dict[str, Any]:
    """One that has it on record, as the engine writes it down."""
    made = await rest.a_deployment()
    image = {"image_id": CONTENT_ID, "digest": REGISTRY_DIGEST}
    await rest.record(
        events.DeploymentProgressed(UUID(made["id"]), str(Status.DEPLOYING)),
        events.ImageReady(UUID(made["id"]), UUID(made["service_instance_id"]), image),
    )
    return made


async def refused(rest: Rest, instance_id: str) -> dict[str, str]:
    path = f"/v1/service-instances/{instance_id}/deployments"
    return await rest.refused("POST", path, 400, json={"source": BY_CONTENT_ID})


async def test_a_content_that_another_workspace_brought_is_refused_and_nothing_is_asked_for(
    rest: Rest, stranger: Rest
) -> None:
    await a_deployment_with_the_image(rest)
    instance = await stranger.an_instance()
    error = await refused(stranger, instance["id"])
    assert error["code"] == "builds.source_refused"
    assert "registry" in error["hint"]
    listed = await stranger.call("GET", f"/v1/service-instances/{instance['id']}/deployments")
    assert listed == {"deployments": []}
    config = await stranger.call("GET", f"/v1/environments/{instance['environment_id']}/config")
    assert CONTENT_ID not in str(config)


async def test_whether_somebody_else_has_it_can_not_be_told_from_the_answer(rest: Rest, stranger: Rest) -> None:
    instance = await stranger.an_instance()
    before = await refused(stranger, instance["id"])
    await a_deployment_with_the_image(rest)
    after = await refused(stranger, instance["id"])
    assert {**before, "request_id": ""} == {**after, "request_id": ""}


async def test_a_content_that_the_workspace_had_is_deployed_again_also_by_another_service(rest: Rest) -> None:
    await a_deployment_with_the_image(rest)
    other = await rest.an_instance("other", "web")
    assert (await rest.deploy(other["id"], source=BY_CONTENT_ID))["status"] == "QUEUED"


async def test_a_content_that_only_a_deleted_service_had_is_refused(rest: Rest) -> None:
    made = await a_deployment_with_the_image(rest)
    other = await rest.an_instance("other", "web")
    await rest.record(events.InstanceForgotten(UUID(made["service_instance_id"])))
    await refused(rest, other["id"])


async def test_a_pinned_name_is_accepted_from_anybody_for_its_registry_is_asked(stranger: Rest) -> None:
    source = {"kind": "image", "reference": f"app@{REGISTRY_DIGEST}"}
    assert (await stranger.deploy((await stranger.an_instance())["id"], source=source))["status"] == "QUEUED"


async def test_where_the_operator_allows_it_any_content_is_accepted(open_rest: Rest) -> None:
    made = await open_rest.deploy((await open_rest.an_instance())["id"], source=BY_CONTENT_ID)
    assert made["status"] == "QUEUED"
