"""The workspace's events at the REST door: what is told, to whom, and that a follower misses and repeats nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from httpx import AsyncClient

from conftest import Platform
from rest.client import Rest, make_app, served, token_of
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.kit import events as stream
from trackside.rooms.deployments import events
from trackside.rooms.identity import service as identity

SECONDS = 20


async def told(rest: Rest, **query: Any) -> list[dict[str, Any]]:
    return (await rest.call("GET", "/v1/events", params=query))["events"]


async def sentences(rest: Rest, **query: Any) -> list[str]:
    return [one["sentence"] for one in await told(rest, **query)]


async def test_each_event_is_told_in_a_sentence_with_its_place_and_actor(rest: Rest) -> None:
    instance = await rest.an_instance()
    deployment = await rest.deploy(instance["id"])
    found = await told(rest)
    assert [one["seq"] for one in found] == list(range(1, len(found) + 1))
    assert {one["actor"]["name"] for one in found} == {"tests"}
    short = f"…{deployment['id'][-8:]}"
    assert [one["sentence"] for one in found] == [
        "The project shop was created.",
        "The environment production of shop was created.",
        "The service web of shop was created.",
        "web in production of shop can be deployed.",
        "The config of production of shop became version 1: web: source removed.",
        "The config of production of shop became version 2: web: source.",
        "The environment production of shop has private network number 0.",
        "web in production of shop has the host name web-production.localhost.",
        f"Deploy of web in production of shop from image app:1: deployment {deployment['id']}.",
        f"Deployment {short} of web in production of shop is QUEUED.",
    ]
    assert found[-1]["place"] == {
        "project": "shop",
        "project_id": instance["project_id"],
        "environment": "production",
        "environment_id": instance["environment_id"],
        "service": "web",
        "service_id": instance["service_id"],
        "service_instance_id": instance["id"],
        "deployment_id": deployment["id"],
    }


async def test_what_was_deleted_keeps_its_name(rest: Rest) -> None:
    instance = await rest.an_instance()
    await rest.call("DELETE", f"/v1/services/{instance['service_id']}")
    await rest.call("DELETE", f"/v1/projects/{instance['project_id']}")
    last = (await told(rest))[-2:]
    assert [one["sentence"] for one in last] == [
        "The service web is to be deleted, with all it holds.",
        "The project shop is to be deleted, with all it holds.",
    ]
    assert [(one["place"]["project"], one["place"]["service"]) for one in last] == [("shop", "web"), ("shop", None)]


async def test_pages_lead_on_by_the_cursor(rest: Rest) -> None:
    await rest.a_deployment()
    whole = await told(rest)
    cursor, found = 0, []
    while page := (await rest.call("GET", "/v1/events", params={"after": cursor, "limit": 2})):
        if not page["events"]:
            break
        assert len(page["events"]) <= 2
        found += page["events"]
        cursor = page["cursor"]
    assert found == whole
    newest = await rest.call("GET", "/v1/events", params={"newest": "true", "limit": 3})
    assert newest == {"events": whole[-3:], "cursor": whole[-1]["seq"]}


async def test_the_cursor_passes_by_what_does_not_fit(rest: Rest) -> None:
    await rest.a_deployment()
    last = (await told(rest))[-1]["seq"]
    page = await rest.call("GET", "/v1/events", params={"type": "DeploymentFailed"})
    assert page == {"events": [], "cursor": last}


async def test_events_are_chosen_by_time_and_type(rest: Rest) -> None:
    await rest.a_deployment()
    whole = await told(rest)
    assert await told(rest, since=whole[3]["at"], until=whole[5]["at"]) == [
        one for one in whole if whole[3]["at"] <= one["at"] <= whole[5]["at"]
    ]
    chosen = await told(rest, type=["ServiceCreated", "ProjectCreated"])
    assert [one["type"] for one in chosen] == ["ProjectCreated", "ServiceCreated"]
    error = await rest.refused("GET", "/v1/events", 400, params={"type": "Nonsense"})
    assert error["code"] == "audit.event_type_unknown"


async def test_events_are_chosen_by_what_they_are_about(rest: Rest) -> None:
    web = await rest.an_instance()
    made = await rest.call("POST", f"/v1/projects/{web['project_id']}/services", json={"name": "api"})
    await rest.call("POST", f"/v1/projects/{web['project_id']}/environments", json={"name": "staging"})
    other = await rest.an_instance("other", "job")
    deployment = await rest.deploy(web["id"])
    await rest.deploy(other["id"])
    await rest.call("PATCH", f"/v1/service-instances/{web['id']}/variables", json={"variables": {"A": "1"}})
    whole = await told(rest)

    def of(**names: str) -> list[str]:
        fitting = [one for one in whole if all(one["place"][name] == value for name, value in names.items())]
        return [one["sentence"] for one in fitting]

    assert await sentences(rest, project_id=web["project_id"]) == of(project="shop")
    assert await sentences(rest, service_id=web["service_id"]) == of(project="shop", service="web")
    assert await sentences(rest, service_id=made["id"]) == of(service="api")
    assert await sentences(rest, environment_id=web["environment_id"]) == of(project="shop", environment="production")
    both = {"service_id": web["service_id"], "environment_id": web["environment_id"]}
    assert await sentences(rest, **both) == of(project="shop", service="web", environment="production")
    assert await sentences(rest, deployment_id=deployment["id"]) == of(deployment_id=deployment["id"])
    changed = "The config of production of shop became version 3: web: variables.A."
    assert changed in await sentences(rest, **both)
    assert changed not in await sentences(rest, service_id=made["id"])


async def test_who_asks_about_what_is_not_there_is_told_so(rest: Rest, stranger: Rest) -> None:
    instance = await rest.an_instance()
    deployment = await rest.deploy(instance["id"])
    for field in ("project_id", "environment_id", "service_id", "deployment_id"):
        named = deployment["id"] if field == "deployment_id" else instance[field]
        assert await told(rest, **{field: named})
        await stranger.refused("GET", "/v1/events", 404, params={field: named})
        await rest.refused("GET", "/v1/events", 404, params={field: str(uuid4())})


async def test_a_workspace_is_told_its_own_events_only(rest: Rest, stranger: Rest) -> None:
    await rest.a_deployment()
    assert await told(stranger) == []
    await stranger.a_project("secret-plans")
    assert [one["place"]["project"] for one in await told(stranger)] == ["secret-plans"] * 2
    assert "secret-plans" not in json.dumps(await told(rest))


SECRET = "hunter2-f00dcafe"


async def test_no_event_holds_anything_secret(rest: Rest) -> None:
    """Values of variables, tokens and keys of sources, tokens of people: each given, none told."""
    instance = await rest.an_instance()
    source = {
        "kind": "git",
        "url": "https://example.com/app.git",
        "token": f"{SECRET}-token",
    }
    await rest.deploy(instance["id"], source=source)
    key = {"kind": "git", "url": "ssh://git@example.com/app.git", "private_key": f"{SECRET}-key"}
    await rest.send("POST", f"/v1/service-instances/{instance['id']}/deployments", json={"source": key})
    variables = {"PASSWORD": f"{SECRET}-value", "EMPTY": ""}
    await rest.call("PATCH", f"/v1/service-instances/{instance['id']}/variables", json={"variables": variables})
    whole = json.dumps(await told(rest, limit=1000))
    assert "PASSWORD" in whole
    assert "EnvironmentConfigCommitted" in whole
    assert "example.com/app" in whole
    assert SECRET not in whole
    assert rest.token not in whole


class Followed:
    """What comes of followed events."""

    def __init__(self, texts: AsyncIterator[str]) -> None:
        self._texts = texts

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            while not (text := await anext(self._texts)):
                pass
            return json.loads(text)

    async def sign_of_life(self) -> None:
        async with asyncio.timeout(SECONDS):
            assert await anext(self._texts) == ""

    async def until_end(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(SECONDS):
            return [json.loads(text) async for text in self._texts if text]


@asynccontextmanager
async def following(rest: Rest, **query: Any) -> AsyncIterator[Followed]:
    headers = {"Authorization": f"Bearer {rest.token}"}
    params = {"follow": "true", **query}
    async with rest.client.stream("GET", "/v1/events", params=params, headers=headers) as response:
        assert response.headers["content-type"].startswith("application/x-ndjson")
        yield Followed(response.aiter_lines())


@asynccontextmanager
async def at_a_server(platform: Platform, directory: Path, token: str = "") -> AsyncIterator[Rest]:
    """The door behind the web server that the platform uses: what streams."""
    app = make_app(platform, MemoryLogStore(), directory)
    token = token or await token_of(platform, platform.workspace_id)
    async with served(app) as url, AsyncClient(base_url=url) as client:
        yield Rest(app, client, platform, MemoryLogStore(), token, platform.workspace_id)


@pytest.fixture
async def site(platform: Platform, tmp_path: Path) -> AsyncIterator[Rest]:
    async with at_a_server(platform, tmp_path) as rest:
        yield rest


async def test_a_follower_gets_what_is_there_and_then_each_event_as_it_comes(site: Rest) -> None:
    await site.a_project("one")
    async with following(site, type="ProjectCreated") as followed:
        assert (await followed.next())["sentence"] == "The project one was created."
        await site.a_project("two")
        assert (await followed.next())["sentence"] == "The project two was created."


async def test_a_quiet_follower_gets_signs_of_life_and_nothing_that_does_not_fit(site: Rest) -> None:
    async with following(site, type="DeploymentFailed") as followed:
        await followed.sign_of_life()
        await site.a_project()
        await followed.sign_of_life()


async def test_a_follower_of_a_service_sees_deployments_made_meanwhile_and_its_end(site: Rest) -> None:
    instance = await site.an_instance()
    async with following(site, service_id=instance["service_id"], after=4) as followed:
        await followed.sign_of_life()
        await site.deploy(instance["id"])
        assert [(await followed.next())["type"] for _ in range(5)] == [
            "EnvironmentConfigCommitted",
            "EnvironmentConfigCommitted",
            "HostAssigned",
            "DeploymentRequested",
            "DeploymentProgressed",
        ]
        await site.call("DELETE", f"/v1/services/{instance['service_id']}")
        assert (await followed.next())["type"] == "DeletionRequested"


async def test_following_ends_when_its_token_is_revoked(site: Rest) -> None:
    async with following(site) as followed:
        await followed.sign_of_life()
        async with site.platform.database.transaction() as tx:
            await identity.revoke_token(tx, site.workspace_id, site.token)
        assert await followed.until_end() == []


async def test_who_may_not_follow_is_refused_at_once(site: Rest) -> None:
    error = await site.refused("GET", "/v1/events", 404, params={"follow": "true", "project_id": str(uuid4())})
    assert error["kind"] == "missing"


async def test_a_follower_that_goes_on_after_restarts_misses_and_repeats_nothing(
    platform: Platform, tmp_path: Path
) -> None:
    """Events are recorded all the time, by several at once; the server goes away again and again under its follower."""
    token, wanted, found = await token_of(platform, platform.workspace_id), 300, list[int]()

    async def record(count: int) -> None:
        for number in range(count):
            async with platform.database.transaction(platform.workspace_id) as tx:
                await stream.record(tx, events.PortFound(uuid4(), number))

    recording = asyncio.gather(*(record(wanted // 3) for _ in range(3)))
    servers = 0
    async with asyncio.timeout(60):
        while len(found) < wanted:
            servers += 1
            last = found[-1] if found else 0
            async with at_a_server(platform, tmp_path, token) as rest, following(rest, after=last) as followed:
                for _ in range(min(70, wanted - len(found))):
                    found.append((await followed.next())["seq"])
    await recording
    assert found == list(range(1, wanted + 1))
    assert servers == 5
