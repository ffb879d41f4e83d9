"""Errors at the REST door: one shape, stable codes, and the headers that every answer carries."""

from typing import Any

import pytest
from litestar.exceptions import HTTPException

from rest.client import VERSION, Rest, told
from trackside.entry.rest.errors import BODY_BYTES, STATUS
from trackside.kit.errors import Kind


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
        ("DELETE", "/v1/me"),
        ("PUT", "/v1/projects"),
        ("GET", "/v1/projects/nonsense"),
        ("GET", "/v1/deployments/%00"),
        ("GET", "/v1/deployments/../../etc/passwd"),
        ("POST", "/v1/version"),
    ],
)
async def test_an_address_that_does_not_exist_is_missing(rest: Rest, method: str, path: str) -> None:
    error = await rest.refused(method, path, 404)
    assert (error["code"], error["kind"]) == ("rest.missing", "missing")


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
    error = await rest.refused("POST", "/v1/projects", 400, content=b" " * (BODY_BYTES + 1))
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
    for name in ("%00", "%ff", "'; DROP TABLE projects; --", "%25", "%0A"):
        response = await rest.send("GET", f"/v1/projects?name={name}")
        assert response.status_code in (200, 400), response.text
        if response.status_code == 200:
            assert response.json() == {"projects": []}


async def test_an_error_of_ours_is_told_without_its_inside(rest: Rest, caplog: Any) -> None:
    async def fail() -> None:
        raise ValueError("the secret inside")

    async def fail_in_the_framework() -> None:
        raise HTTPException(status_code=503, detail="the secret inside")

    from litestar import get

    rest.client.app.register(get("/v1/fail")(fail))
    rest.client.app.register(get("/v1/fail-too")(fail_in_the_framework))
    for path in ("/v1/fail", "/v1/fail-too"):
        error = await rest.refused("GET", path, 500)
        assert error["code"] == "internal"
        assert "secret" not in str(error)


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
