"""Uploads at the REST door: streamed to disk, measured, refused when too large."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

from rest.client import MEBIBYTE, UPLOAD_BYTES, Rest, make_app
from trackside.adapters.memory.builder import MemoryBuilder
from trackside.adapters.memory.images import MemoryImages
from trackside.adapters.memory.sources import MemorySources
from trackside.adapters.objects.folder import UploadFolder
from trackside.kit.garbage import Freed
from trackside.kit.ids import new_id
from trackside.rooms.builds import service as builds


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * MEBIBYTE


def _path(instance_id: str) -> str:
    return f"/v1/service-instances/{instance_id}/uploads"


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def test_an_upload_in_chunks_is_kept_whole_with_its_size_and_digest(rest: Rest, tmp_path: Path) -> None:
    instance = await rest.an_instance()
    response = await rest.send("POST", _path(instance["id"]), content=_chunks(3))
    assert response.status_code == 201
    whole = b"".join([chunk async for chunk in _chunks(3)])
    made = response.json()
    assert (made["size_bytes"], made["sha256"]) == (3 * MEBIBYTE, hashlib.sha256(whole).hexdigest())
    assert [file.read_bytes() == whole for file in _files(tmp_path)] == [True]


async def test_no_transaction_is_open_while_an_upload_comes_slowly(rest: Rest) -> None:
    """The database ends those that do nothing for minutes, and has few connections."""
    instance = await rest.an_instance()
    seen: list[int] = []

    async def slowly() -> AsyncIterator[bytes]:
        for number in range(3):
            seen.append(await rest.open_transactions())
            yield bytes([number])

    assert (await rest.send("POST", _path(instance["id"]), content=slowly())).status_code == 201
    assert seen == [0, 0, 0]


async def test_an_upload_can_be_deployed(rest: Rest) -> None:
    instance = await rest.an_instance()
    made = await rest.call("POST", _path(instance["id"]), content=b"archive")
    deployment = await rest.deploy(instance["id"], source={"kind": "upload", "upload_id": made["upload_id"]})
    assert deployment["source"]["upload_id"] == made["upload_id"]


async def test_an_upload_that_is_too_large_is_refused_and_nothing_is_kept(rest: Rest, tmp_path: Path) -> None:
    instance = await rest.an_instance()
    error = await rest.refused("POST", _path(instance["id"]), 400, content=_chunks(5))
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
    assert error["code"] == "builds.upload_gone"


async def test_an_upload_for_a_service_that_is_deleted_meanwhile_is_refused_and_nothing_is_kept(
    rest: Rest, tmp_path: Path
) -> None:
    instance = await rest.an_instance()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"begun"
        await rest.call("DELETE", f"/v1/services/{instance['service_id']}")
        yield b"ended"

    error = await rest.refused("POST", _path(instance["id"]), 404, content=chunks())
    assert error["code"] == "projects.service_missing"
    assert _files(tmp_path) == []


async def left_behind(rest: Rest, directory: Path, name: str, *, hours: float) -> Path:
    """A file in the uploads of the workspace that was last written to so long ago."""
    path = directory / rest.workspace_id.hex / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"left")
    written = time.time() - hours * 3600
    os.utime(path, (written, written))
    return path


def builds_with(directory: Path) -> builds.Builds:
    images = MemoryImages()
    uploads, workshop = UploadFolder(directory, UPLOAD_BYTES), builds.Workshop(directory / "trees", {})
    return builds.Builds(MemorySources(), MemoryBuilder(images), images, uploads, workshop)


async def test_what_killed_processes_left_of_uploads_is_collected_and_nothing_else(rest: Rest, tmp_path: Path) -> None:
    instance = await rest.an_instance()
    recorded = await rest.call("POST", _path(instance["id"]), content=b"archive")
    kept = tmp_path / rest.workspace_id.hex / UUID(recorded["upload_id"]).hex
    os.utime(kept, (1, 1))
    gone = [
        await left_behind(rest, tmp_path, f"{new_id().hex}.partial", hours=2),
        await left_behind(rest, tmp_path, new_id().hex, hours=2),
    ]
    stays = [
        kept,
        await left_behind(rest, tmp_path, f"{new_id().hex}.partial", hours=0.5),
        await left_behind(rest, tmp_path, new_id().hex, hours=0.5),
        await left_behind(rest, tmp_path, "somebody-else's.partial", hours=2),
        await left_behind(rest, tmp_path, "notes", hours=2),
    ]
    kept_by, database = builds_with(tmp_path), rest.platform.database
    collected = [Freed("uploads that broke off", 1, len("left")), Freed("uploads without a record", 1, len("left"))]
    assert await kept_by.collect_uploads(database, is_trial=True) == collected
    assert sorted(_files(tmp_path)) == sorted([*stays, *gone]), "a trial removed something"
    assert await kept_by.collect_uploads(database) == collected
    assert sorted(_files(tmp_path)) == sorted(stays)
    assert await kept_by.collect_uploads(database) == []


async def test_a_receiver_that_is_killed_leaves_what_is_collected_later(rest: Rest, tmp_path: Path) -> None:
    """A process of its own, killed while it receives."""
    program = f"""
import asyncio, os, signal, uuid
from pathlib import Path
from trackside.adapters.objects.folder import UploadFolder

async def chunks():
    yield b"begun"
    yield b"x" * 100000
    os.kill(os.getpid(), signal.SIGKILL)

workspace = uuid.UUID({rest.workspace_id.hex!r})
asyncio.run(UploadFolder(Path({str(tmp_path)!r}), 1 << 20).receive(workspace, uuid.uuid4(), chunks()))
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = _files(tmp_path)
    assert left.suffix == ".partial"
    assert await builds_with(tmp_path).collect_uploads(rest.platform.database, idle_seconds=3600) == []
    await builds_with(tmp_path).collect_uploads(rest.platform.database, idle_seconds=0)
    assert _files(tmp_path) == []
