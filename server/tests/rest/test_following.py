"""Followed logs over real HTTP, on the log store that the platform uses: which lines come, and what ends a follower."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient, RemoteProtocolError

from conftest import Platform
from rest.client import Rest, make_app, served, token_of
from trackside.adapters.logfiles.store import FileLogStore
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.rooms.identity import service as identity
from trackside.rooms.telemetry.model import Line, LogKind, Stream
from trackside.rooms.telemetry.ports import LogStore

SECONDS = 20
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class CountingStore(FileLogStore):
    """Knows how many follow it now."""

    followers = 0

    async def follow(self, stream: Stream, *, after: int = 0) -> AsyncGenerator[Line]:
        self.followers += 1
        try:
            async with aclosing(super().follow(stream, after=after)) as lines:
                async for line in lines:
                    yield line
        finally:
            self.followers -= 1


@dataclass
class Site:
    """A deployment, its log, and a server that tells of both."""

    rest: Rest
    store: LogStore
    url: str
    deployment: dict[str, Any]

    @property
    def path(self) -> str:
        return f"/v1/deployments/{self.deployment['id']}/logs"

    async def write(self, *messages: str, first: int = 0, kind: LogKind = LogKind.DEPLOY) -> None:
        """Lines a minute apart."""
        lines = [Line(START + timedelta(minutes=n), message) for n, message in enumerate(messages, first)]
        await self.store.append(Stream(self.rest.workspace_id, kind, UUID(self.deployment["id"])), lines)

    async def end(self) -> None:
        await self.rest.call("POST", f"/v1/deployments/{self.deployment['id']}/cancel")

    @asynccontextmanager
    async def following(self, **query: Any) -> AsyncIterator["Followed"]:
        async with self.rest.client.stream(
            "GET",
            self.path,
            params={"follow": "true", **query},
            headers={"Authorization": f"Bearer {self.rest.token}"},
        ) as response:
            assert response.headers["content-type"].startswith("application/x-ndjson")
            assert response.headers["trackside-version"]
            yield Followed(response.aiter_lines())


class Followed:
    """What comes of a followed log."""

    def __init__(self, texts: AsyncIterator[str]) -> None:
        self._texts = texts

    async def next(self) -> str:
        """The next line's message."""
        async with asyncio.timeout(SECONDS):
            while not (text := await anext(self._texts)):
                pass
            return json.loads(text)["message"]

    async def sign_of_life(self) -> None:
        async with asyncio.timeout(SECONDS):
            assert await anext(self._texts) == ""

    async def rest(self) -> list[str]:
        """Everything up to the end."""
        async with asyncio.timeout(SECONDS):
            return [json.loads(text)["message"] async for text in self._texts if text]


@pytest.fixture(params=[CountingStore, MemoryLogStore], ids=["files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LogStore:
    return CountingStore(tmp_path / "logs") if request.param is CountingStore else MemoryLogStore()


@pytest.fixture
async def site(platform: Platform, tmp_path: Path, store: LogStore) -> AsyncIterator[Site]:
    app = make_app(platform, store, tmp_path / "uploads")
    token = await token_of(platform, platform.workspace_id)
    async with served(app) as url, AsyncClient(base_url=url) as client:
        rest = Rest(app, client, platform, MemoryLogStore(), token, platform.workspace_id)
        yield Site(rest, store, url, await rest.a_deployment())
    if isinstance(store, FileLogStore):
        await store.close()


async def nobody_follows(store: LogStore) -> None:
    assert isinstance(store, CountingStore)
    async with asyncio.timeout(SECONDS):
        while store.followers:
            await asyncio.sleep(0.02)


only_files = pytest.mark.parametrize("store", [CountingStore], indirect=True, ids=["files"])


async def test_a_followed_log_ends_when_its_token_is_revoked(site: Site) -> None:
    await site.write("one")
    async with site.following() as followed:
        assert await followed.next() == "one"
        async with site.rest.platform.database.transaction() as tx:
            await identity.revoke_token(tx, site.rest.workspace_id, site.rest.token)
        assert await followed.rest() == []


async def test_a_followed_build_log_ends_when_the_build_has_ended_and_all_lines_are_out(site: Site) -> None:
    await site.write("one", kind=LogKind.BUILD)
    async with site.following(kind="build") as followed:
        assert await followed.next() == "one"
        await site.write("two", "three", first=1, kind=LogKind.BUILD)
        assert await followed.next() == "two"
        await site.write(*map(str, range(3, 2500)), first=3, kind=LogKind.BUILD)
        await site.rest.serve(site.deployment)
        assert await followed.rest() == ["three", *map(str, range(3, 2500))]


async def test_a_followed_log_ends_with_its_deployment(site: Site) -> None:
    async with site.following() as followed:
        await followed.sign_of_life()
        await site.write("last words")
        await site.end()
        assert await followed.rest() == ["last words"]


async def test_a_followed_log_ends_when_the_deployment_is_gone(site: Site) -> None:
    async with site.following() as followed:
        await followed.sign_of_life()
        await site.end()
        project = (await site.rest.call("GET", "/v1/projects"))["projects"][0]
        await site.rest.call("DELETE", f"/v1/projects/{project['id']}")
        assert await followed.rest() == []


async def test_a_log_that_has_ended_is_told_whole_and_ends_at_once(site: Site) -> None:
    await site.write(*map(str, range(2300)))
    await site.end()
    async with site.following() as followed:
        assert await followed.rest() == [str(number) for number in range(2300)]


async def test_following_goes_on_after_a_number(site: Site) -> None:
    await site.write("one", "two")
    async with site.following(after=1) as followed:
        assert await followed.next() == "two"
        await site.write("three", first=2)
        assert await followed.next() == "three"


async def test_following_begins_at_a_time(site: Site) -> None:
    await site.write(*"abcdef")
    async with site.following(since=(START + timedelta(minutes=4)).isoformat()) as followed:
        assert [await followed.next(), await followed.next()] == ["e", "f"]
        await site.write("late", first=1)
        await site.write("g", first=6)
        assert await followed.next() == "g"


async def test_following_from_a_time_that_nothing_has_reached_begins_with_the_next_line(site: Site) -> None:
    await site.write(*"abc")
    async with site.following(since=(START + timedelta(minutes=3)).isoformat()) as followed:
        await followed.sign_of_life()
        await site.write("d", first=3)
        assert await followed.next() == "d"


async def test_following_ends_at_a_time(site: Site) -> None:
    await site.write(*"abc")
    async with site.following(until=(START + timedelta(minutes=1)).isoformat()) as followed:
        assert await followed.rest() == ["a", "b"]
    soon = datetime.now(UTC) + timedelta(seconds=1)
    async with site.following(until=soon.isoformat(), after=3) as followed:
        await site.write("d", first=3)
        assert await followed.rest() == ["d"]


async def test_the_last_lines_are_followed_by_all_that_come(site: Site) -> None:
    await site.write(*"abcdef")
    async with site.following(newest="true", limit=2) as followed:
        assert [await followed.next(), await followed.next()] == ["e", "f"]
        await site.write(*"ghi", first=6)
        assert [await followed.next() for _ in "ghi"] == ["g", "h", "i"]


async def test_following_ends_after_the_first_lines_where_so_many_are_wanted(site: Site) -> None:
    await site.write(*"ab")
    async with site.following(limit=3) as followed:
        assert [await followed.next(), await followed.next()] == ["a", "b"]
        await site.write(*"cd", first=2)
        assert await followed.rest() == ["c"]


@only_files
async def test_a_client_that_goes_away_ends_the_follower_on_the_server(site: Site) -> None:
    assert isinstance(site.store, CountingStore)
    async with site.following() as one, site.following() as other:
        await one.sign_of_life()
        await other.sign_of_life()
        assert site.store.followers == 2
    await nobody_follows(site.store)


@only_files
async def test_a_client_that_does_not_read_ends_nothing_and_loses_nothing(site: Site) -> None:
    """A megabyte more than sockets hold: the server waits for the reader."""
    text = "x" * 10_000
    async with site.following() as followed:
        await site.write(*(f"{number} {text}" for number in range(2000)))
        await site.end()
        got = await followed.rest()
    assert [line.split()[0] for line in got] == [str(number) for number in range(2000)]
    await nobody_follows(site.store)


@only_files
async def test_where_the_disk_refuses_a_log_is_not_begun(site: Site, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("not a directory")
    for query in ({}, {"follow": "true"}):
        assert (await site.rest.refused("GET", site.path, 503, params=query))["code"] == "telemetry.logs_unavailable"


@only_files
async def test_where_the_disk_fails_meanwhile_a_log_is_broken_off_not_ended(site: Site, tmp_path: Path) -> None:
    await site.write("one")
    async with site.following() as followed:
        assert await followed.next() == "one"
        shutil.rmtree(tmp_path / "logs")
        (tmp_path / "logs").write_text("not a directory")
        with pytest.raises(RemoteProtocolError):
            await followed.rest()
    await nobody_follows(site.store)


@only_files
async def test_the_command_line_follows_from_a_time_on(site: Site) -> None:
    now = datetime.now(UTC)
    stream = Stream(site.rest.workspace_id, LogKind.DEPLOY, UUID(site.deployment["id"]))
    await site.store.append(stream, [Line(now - timedelta(hours=1), "old"), Line(now - timedelta(minutes=1), "young")])
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TRACKSIDE_API_URL": site.url,
                   "TRACKSIDE_TOKEN": site.rest.token}  # fmt: skip
    command = ["-m", "trackside_cli", "logs", "-f", "--since", "10m", "--json", site.deployment["id"]]
    program = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    async with asyncio.timeout(3 * SECONDS):
        got = [json.loads(await program.stdout.readline())["message"]]
        await site.store.append(stream, [Line(datetime.now(UTC), "new")])
        got.append(json.loads(await program.stdout.readline())["message"])
        await site.end()
        got += (await program.stdout.read()).decode().split()
        assert (got, await program.wait()) == (["young", "new"], 0)
