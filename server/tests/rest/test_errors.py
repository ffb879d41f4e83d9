"""Errors at the REST door: one shape, stable codes, and the headers that every answer carries."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from httpx import ASGITransport, AsyncClient
from litestar import get
from litestar.exceptions import HTTPException
from psycopg import sql
from sqlalchemy import Table

from conftest import Platform, Server
from rest.client import VERSION, Rest, signed_in, told
from trackside.entry.rest.envelope import Envelope
from trackside.entry.rest.errors import BODY_BYTES, STATUS
from trackside.host.installation import SUPERUSER_ROLE
from trackside.kit.db import Database, schema_of
from trackside.kit.errors import Kind
from trackside.rooms.identity.store import token_hashes
from trackside.rooms.projects.store import projects


def test_every_kind_has_a_status_of_its_own() -> None:
    assert set(STATUS) == set(Kind)
    assert len(set(STATUS.values())) == len(STATUS)


@pytest.mark.parametrize("path", ["/v1/version", "/v1/me", "/v1/nothing", "/v1/projects/nonsense", "/", "/v1/schema"])
async def test_every_answer_says_which_server_and_which_request(rest: Rest, path: str) -> None:
    first, second = await rest.send("GET", path), await rest.client.get(path)
    assert first.headers["trackside-version"] == second.headers["trackside-version"] == VERSION
    assert len({first.headers["x-request-id"], second.headers["x-request-id"]}) == 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/"),
        ("GET", "/v1/projects/nonsense"),
        ("GET", "/v1/deployments/%00"),
        ("GET", "/v1/deployments/../../etc/passwd"),
        ("GET", "/v1/schema/nothing"),
        ("BREW", "/v1/nothing"),
    ],
)
async def test_an_address_that_does_not_exist_is_missing(rest: Rest, method: str, path: str) -> None:
    error = await rest.refused(method, path, 404)
    assert (error["code"], error["kind"]) == ("rest.missing", "missing")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/me", {"GET", "OPTIONS"}),
        ("PUT", "/v1/projects", {"GET", "POST", "OPTIONS"}),
        ("POST", "/v1/version", {"GET", "OPTIONS"}),
        ("BREW", "/v1/version", {"GET", "OPTIONS"}),
    ],
)
async def test_a_wrong_method_is_told_with_those_that_are_taken(
    rest: Rest, method: str, path: str, allowed: set[str]
) -> None:
    response = await rest.send(method, path)
    assert (response.status_code, told(response)["code"]) == (405, "rest.method_refused")
    assert set(response.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/version", "/v1/schema/nothing"])
async def test_an_answer_to_head_has_the_headers_and_no_body(rest: Rest, path: str) -> None:
    response = await rest.send("HEAD", path)
    assert response.status_code in (404, 405)
    assert response.content == b""
    assert response.headers["trackside-version"] == VERSION
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer trackside_wrong",
        "Bearer " + "x" * 5000,
        "trackside_x",
    ],
)
async def test_without_a_valid_token_nothing_is_told(rest: Rest, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = await rest.client.get("/v1/projects", headers=headers)
    assert response.status_code == 401
    assert (told(response)["code"], told(response)["kind"]) == ("access.unauthenticated", "unauthenticated")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"nonsense", b"[]", b"null", b"1", b'{"name": 1}', b'{"name": null}', b'{"nam": "a"}', b"{}",
     b'{"name": "a", "more": 1}', b"\xff\xfe", b'{"name": "\\ud800"}', b"[" * 100_000],
    ids=lambda content: repr(content[:24]),
)  # fmt: skip
async def test_a_body_that_is_not_what_was_asked_for_is_refused(rest: Rest, content: bytes) -> None:
    error = await rest.refused("POST", "/v1/projects", 400, content=content)
    assert error["kind"] == "invalid"
    assert (await rest.call("GET", "/v1/projects"))["projects"] == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"])
async def test_a_body_of_another_type_never_fails(rest: Rest, kind: str) -> None:
    response = await rest.send("POST", "/v1/projects", content=b"name=a", headers={"Content-Type": kind})
    assert response.status_code == 400
    assert told(response)["kind"] == "invalid"


async def test_a_body_that_is_too_large_is_refused(rest: Rest) -> None:
    error = await rest.refused("POST", "/v1/projects", 413, content=b" " * (BODY_BYTES + 1))
    assert error["code"] == "rest.too_large"


async def test_a_config_nested_without_end_or_with_endless_numbers_is_refused(rest: Rest) -> None:
    instance = await rest.an_instance()
    path = f"/v1/environments/{instance['environment_id']}/config"
    deep = b'{"patch": ' + b'{"a": ' * 500 + b"1" + b"}" * 501
    huge = b'{"patch": {"a": 1e999}}'
    long = b'{"patch": {"a": ' + b"9" * 500 + b"}}"
    for content in (deep, huge):
        assert (await rest.refused("PATCH", path, 400, content=content))["kind"] == "invalid"
    assert (await rest.send("PATCH", path, content=long)).status_code in (200, 400)


async def test_odd_text_in_a_query_finds_nothing_and_never_fails(rest: Rest) -> None:
    for name in ("%00", "%ff", "'; DROP TABLE projects; --", "%25", "%0a"):
        response = await rest.send("GET", f"/v1/projects?name={name}")
        assert response.status_code in (200, 400), response.text
        if response.status_code == 200:
            assert response.json() == {"projects": []}


async def test_an_error_of_ours_is_told_without_its_inside(rest: Rest, caplog: Any) -> None:
    async def fail() -> None:
        raise ValueError("the secret inside")

    async def fail_in_the_framework() -> None:
        raise HTTPException(status_code=503, detail="the secret inside")

    rest.app.register(get("/v1/fail")(fail))
    rest.app.register(get("/v1/fail-too")(fail_in_the_framework))
    for path in ("/v1/fail", "/v1/fail-too"):
        error = await rest.refused("GET", path, 500)
        assert error["code"] == "internal"
        assert "secret" not in str(error)


async def test_what_the_framework_itself_answers_or_lets_through_has_our_shape() -> None:
    """An application in the framework's place: its own pages, and what no handler of it catches."""

    async def framework(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/begins":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] in ("/begins", "/breaks"):
            raise ValueError("the secret inside")
        status = int(scope["path"].removeprefix("/"))
        headers = [(b"content-type", b"text/html"), (b"content-length", b"6")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"sec", "more_body": True})
        await send({"type": "http.response.body", "body": b"ret", "more_body": False})

    transport = ASGITransport(Envelope(framework, VERSION))
    async with AsyncClient(transport=transport, base_url="http://testserver") as client:
        answers = {
            path: await client.get(f"/{path}")
            for path in ("200", "404", "405", "413", "418", "500", "503", "breaks", "begins")
        }
    assert answers["200"].text == "secret"
    assert {answer.headers["trackside-version"] for answer in answers.values()} == {VERSION}
    del answers["200"]
    assert {path: (answer.status_code, told(answer)["code"]) for path, answer in answers.items()} == {
        "404": (404, "rest.missing"), "405": (405, "rest.method_refused"), "413": (413, "rest.too_large"),
        "418": (400, "rest.invalid"), "500": (500, "internal"), "503": (500, "internal"), "breaks": (500, "internal"),
        "begins": (500, "internal"),
    }  # fmt: skip
    assert not any("secret" in answer.text for answer in answers.values())


async def test_an_answer_that_breaks_off_in_its_midst_is_not_made_whole() -> None:
    async def breaking(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("broken off")

    async with AsyncClient(
        transport=ASGITransport(Envelope(breaking, VERSION)), base_url="http://testserver"
    ) as client:
        with pytest.raises(ValueError, match="broken off"):
            await client.get("/")


async def test_the_description_loads_nothing_from_elsewhere(rest: Rest) -> None:
    for path in ("/v1/schema", "/v1/schema/openapi.json"):
        response = await rest.client.get(path)
        assert "json" in response.headers["content-type"]
        assert response.json()["info"]["title"] == "Trackside"


async def test_the_description_is_served_and_names_every_error(rest: Rest) -> None:
    document = (await rest.client.get("/v1/schema/openapi.json")).json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["description"], path
            assert operation["summary"], path
            assert "503" in operation["responses"], path
            assert ("401" in operation["responses"]) == (path != "/v1/version"), path
            assert ("404" in operation["responses"]) == ("{" in path), path
            assert method in ("get", "post", "patch", "delete")
    assert set(document["components"]["responses"]) == set(map(str, Kind))


async def test_without_the_database_the_door_says_so_and_all_is_well_when_it_is_back(
    rest: Rest, postgres_server: Server
) -> None:
    name = sql.Identifier(str(rest.platform.database.engine.url.database))
    admin = await psycopg.AsyncConnection.connect(postgres_server.url(SUPERUSER_ROLE, "postgres"), autocommit=True)
    async with admin:
        await admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [rest.platform.database.engine.url.database],
        )
        error = await rest.refused("GET", "/v1/projects", 503)
        assert (error["code"], error["kind"]) == ("rest.database_away", "unavailable")
        await admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    assert (await rest.send("GET", "/v1/projects")).status_code == 200


@pytest.mark.parametrize("table", [token_hashes, projects])
async def test_a_database_that_does_not_answer_in_time_is_told_and_all_is_well_when_it_does(
    platform: Platform, tmp_path: Path, table: Table
) -> None:
    """While it is asked who asks, and within the work itself."""
    impatient = Database(platform.database.url, platform.database.clock, seconds=0.1)
    async with signed_in(replace(platform, database=impatient), tmp_path) as rest:
        async with platform.owner.transaction(rest.workspace_id) as tx:
            schema = "platform" if table is token_hashes else schema_of(rest.workspace_id)
            lock = sql.SQL("LOCK TABLE {}").format(sql.Identifier(schema, table.name))
            await (await tx.raw()).execute(lock)
            for _ in range(25):  # more than there are connections
                error = await rest.refused("GET", "/v1/projects", 503)
                assert (error["code"], error["kind"]) == ("rest.database_away", "unavailable")
        assert (await rest.send("GET", "/v1/projects")).status_code == 200
    await impatient.close()
