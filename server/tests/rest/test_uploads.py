"""Uploads at the REST door: streamed to disk, measured, refused when too large."""

import hashlib
from pathlib import Path
from typing import Any

from rest.client import MEBIBYTE, UPLOAD_BYTES, Rest, make_app


def _bytes(count: int) -> bytes:
    return b"".join(bytes([number]) * MEBIBYTE for number in range(count))


def _path(instance_id: str) -> str:
    return f"/v1/service-instances/{instance_id}/uploads"


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def test_an_upload_is_kept_whole_with_its_size_and_digest(rest: Rest, tmp_path: Path) -> None:
    instance = await rest.an_instance()
    response = await rest.send("POST", _path(instance["id"]), content=_bytes(3))
    assert response.status_code == 201
    whole = _bytes(3)
    made = response.json()
    assert (made["size_bytes"], made["sha256"]) == (3 * MEBIBYTE, hashlib.sha256(whole).hexdigest())
    assert [file.read_bytes() == whole for file in _files(tmp_path)] == [True]


async def test_an_upload_can_be_deployed(rest: Rest) -> None:
    instance = await rest.an_instance()
    made = await rest.call("POST", _path(instance["id"]), content=b"archive")
    deployment = await rest.deploy(instance["id"], source={"kind": "upload", "upload_id": made["upload_id"]})
    assert deployment["source"]["upload_id"] == made["upload_id"]


async def test_an_upload_that_is_too_large_is_refused_and_nothing_is_kept(rest: Rest, tmp_path: Path) -> None:
    instance = await rest.an_instance()
    error = await rest.refused("POST", _path(instance["id"]), 400, content=_bytes(5))
    assert error["code"] == "builds.archive_refused"
    assert _files(tmp_path) == []


async def test_an_endless_upload_is_refused_as_soon_as_it_is_too_large(rest: Rest, tmp_path: Path) -> None:
    """The body never ends; were it read whole before it is judged, neither would this test."""
    instance = await rest.an_instance()
    given = 0
    answer: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal given
        given += MEBIBYTE
        return {"type": "http.request", "body": b"x" * MEBIBYTE, "more_body": True}

    async def send(message: Any) -> None:
        answer.append(message)

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": _path(instance["id"]),
        "raw_path": _path(instance["id"]).encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {rest.token}".encode()), (b"host", b"here")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    app = make_app(rest.platform, rest.log_store, tmp_path)
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert answer[0]["status"] == 400
    assert given <= UPLOAD_BYTES + 2 * MEBIBYTE
    assert _files(tmp_path) == []


async def test_a_stranger_cannot_deploy_an_upload_of_another_workspace(rest: Rest, stranger: Rest) -> None:
    made = await rest.call("POST", _path((await rest.an_instance())["id"]), content=b"archive")
    theirs = await stranger.an_instance()
    body = {"source": {"kind": "upload", "upload_id": made["upload_id"]}}
    error = await stranger.refused("POST", f"/v1/service-instances/{theirs['id']}/deployments", 400, json=body)
    assert error["code"] == "builds.source_refused"
