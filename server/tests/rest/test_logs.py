"""Logs at the REST door: read with limits and times. Following them: `test_following.py`."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from rest.client import Rest
from trackside.rooms.telemetry.model import Line, LogKind, Stream

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _path(deployment: dict[str, Any]) -> str:
    return f"/v1/deployments/{deployment['id']}/logs"


async def _write(rest: Rest, deployment: dict[str, Any], kind: LogKind, *messages: str) -> None:
    owner = UUID(deployment["service_instance_id" if kind is LogKind.HTTP else "id"])
    lines = [
        Line(START + timedelta(minutes=n), message, attributes={"n": str(n)}) for n, message in enumerate(messages)
    ]
    await rest.log_store.append(Stream(rest.workspace_id, kind, owner), lines)


async def _messages(rest: Rest, deployment: dict[str, Any], **query: Any) -> list[str]:
    return [line["message"] for line in (await rest.call("GET", _path(deployment), params=query))["lines"]]


async def test_each_kind_of_log_is_apart(rest: Rest) -> None:
    deployment = await rest.a_deployment()
    for kind in LogKind:
        await _write(rest, deployment, kind, f"of {kind}")
    for kind in LogKind:
        assert await _messages(rest, deployment, kind=str(kind)) == [f"of {kind}"]
    assert await _messages(rest, deployment) == ["of deploy"]


async def test_a_line_is_told_with_everything_known_of_it(rest: Rest) -> None:
    deployment = await rest.a_deployment()
    await _write(rest, deployment, LogKind.DEPLOY, "hello")
    line = (await rest.call("GET", _path(deployment)))["lines"][0]
    assert line == {
        "seq": 1, "at": "2026-01-02T03:04:05Z", "level": "info", "message": "hello", "replica_id": None, "attributes": {"n": "0"},
    }  # fmt: skip


async def test_lines_are_chosen_by_number_time_and_count(rest: Rest) -> None:
    deployment = await rest.a_deployment()
    await _write(rest, deployment, LogKind.DEPLOY, *"abcdef")
    assert await _messages(rest, deployment, after=4) == ["e", "f"]
    assert await _messages(rest, deployment, limit=2) == ["a", "b"]
    assert await _messages(rest, deployment, limit=2, newest="true") == ["e", "f"]
    assert await _messages(rest, deployment, since="2026-01-02T03:08:05Z") == ["e", "f"]
    assert await _messages(rest, deployment, until="2026-01-02T03:05:05Z") == ["a", "b"]


@pytest.mark.parametrize(
    "query",
    [{"kind": "secret"}, {"limit": 0}, {"limit": 10_001}, {"after": "x"}, {"since": "yesterday"}, {"follow": "maybe"}],
    ids=str,
)
async def test_a_query_that_makes_no_sense_is_refused(rest: Rest, query: dict[str, Any]) -> None:
    deployment = await rest.a_deployment()
    assert (await rest.refused("GET", _path(deployment), 400, params=query))["code"] == "rest.invalid"


async def test_a_time_without_a_zone_is_refused_or_read_as_utc_but_never_fails(rest: Rest) -> None:
    deployment = await rest.a_deployment()
    await _write(rest, deployment, LogKind.DEPLOY, "a")
    response = await rest.send("GET", _path(deployment), params={"since": "2026-01-02T03:04:05"})
    assert response.status_code in (200, 400)
