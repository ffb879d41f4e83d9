"""Deletion leaves no upload and no log of what was deleted, and takes none of anybody else, however often it is killed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from conftest import Platform, another_workspace
from converging.world import EngineRoom, Fate, engine_room, until_done
from trackside.adapters.logfiles.store import FileLogStore
from trackside.bootstrap import READ_MODELS
from trackside.entry.admin.replay import replay
from trackside.entry.worker import deployer
from trackside.entry.worker.nudges import Nudges
from trackside.entry.worker.running import Lane, run_jobs
from trackside.kit.ids import new_id
from trackside.kit.jobs import Job, Jobs
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.errors import SourceRefused
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletable, Deletion, ServiceInstance
from trackside.rooms.telemetry import service as telemetry
from trackside.rooms.telemetry.errors import LogsUnavailable
from trackside.rooms.telemetry.model import Line, LogKind, Stream
from trackside.rooms.telemetry.tasks import LATE
from trackside.rooms.telemetry.tasks import drop_logs as drop_logs_of


@pytest.fixture
async def log_store(tmp_path: Path) -> AsyncIterator[FileLogStore]:
    store = FileLogStore(tmp_path / "logs")
    yield store
    await store.close()


@pytest.fixture
async def room(platform: Platform, tmp_path: Path, log_store: FileLogStore) -> AsyncIterator[EngineRoom]:
    """An engine room that keeps its logs in files."""
    async with engine_room(platform, tmp_path, log_store=log_store) as found:
        yield found


@dataclass
class Lived:
    """A service instance with a deployment that serves, an upload, and a log of each kind."""

    instance: ServiceInstance
    upload_id: UUID
    streams: tuple[Stream, ...]


async def lived(room: EngineRoom, project: str, service: str = "web") -> Lived:
    instance = await room.a_service(service, project)
    made = await room.serve(instance.id, "app:1")
    workspace_id = room.platform.workspace_id
    owners = {LogKind.DEPLOY: made.id, LogKind.BUILD: made.id, LogKind.HTTP: instance.id}
    streams = tuple(Stream(workspace_id, kind, owner) for kind, owner in owners.items())
    for stream in streams:
        await room.log_store.append(stream, [Line(made.created_at, "said")])

    async def chunks() -> AsyncIterator[bytes]:
        yield b"archive"

    upload = await builds.receive_upload(
        room.platform.database, room.platform.actor, room.uploads, instance.id, chunks()
    )
    return Lived(instance, upload.id, streams)


async def delete(room: EngineRoom, kind: Deletable, subject_id: UUID, fate: Fate | None = None) -> None:
    """As a person asks for it, and as the job then works until nothing is left, killed and begun again on the way."""
    async with room.transaction() as tx:
        await projects.request_deletion(tx, room.platform.actor, kind, subject_id)
        deletion = Deletion(room.platform.workspace_id, kind, subject_id)
        instances = await projects.instances_to_delete(tx, deletion)
    async with asyncio.timeout(60):
        while not await until_done(lambda: room.engine.clear_away(deletion), fate):
            for instance in instances:
                await room.converge(instance.id)


async def drop_logs(room: EngineRoom) -> None:
    await telemetry.drop_unowned(room.platform.database, room.log_store, room.platform.workspace_id)


async def has_upload(room: EngineRoom, one: Lived) -> bool:
    try:
        return bool(await room.uploads.path(room.platform.workspace_id, one.upload_id))
    except SourceRefused:
        return False


async def has_logs(room: EngineRoom, one: Lived) -> list[bool]:
    return [bool(await room.log_store.read(stream)) for stream in one.streams]


async def recorded_uploads(room: EngineRoom, one: Lived) -> list[UUID]:
    async with room.transaction() as tx:
        return await builds.uploads_of(tx, [one.instance.id])


SUBJECTS: dict[Deletable, Callable[[ServiceInstance], UUID]] = {
    Deletable.PROJECT: lambda instance: instance.project_id,
    Deletable.ENVIRONMENT: lambda instance: instance.environment_id,
    Deletable.SERVICE: lambda instance: instance.service_id,
}


@pytest.mark.parametrize("kind", Deletable)
async def test_uploads_and_logs_of_what_was_deleted_go_and_those_of_others_stay(
    room: EngineRoom, tmp_path: Path, kind: Deletable
) -> None:
    gone, stays = await lived(room, "gone"), await lived(room, "stays")
    await delete(room, kind, SUBJECTS[kind](gone.instance))
    await drop_logs(room)
    assert (await has_upload(room, gone), await has_logs(room, gone)) == (False, [False] * 3)
    assert (await has_upload(room, stays), await has_logs(room, stays)) == (True, [True] * 3)
    left = [path for path in tmp_path.rglob("*") for stream in gone.streams if str(stream.owner) in path.name]
    assert left == []


async def test_nothing_goes_while_something_of_it_still_runs(room: EngineRoom) -> None:
    one = await lived(room, "shop")
    async with room.transaction() as tx:
        await projects.request_deletion(tx, room.platform.actor, Deletable.PROJECT, one.instance.project_id)
    deletion = Deletion(room.platform.workspace_id, Deletable.PROJECT, one.instance.project_id)
    assert not await room.engine.clear_away(deletion)
    await drop_logs(room)
    assert (await has_upload(room, one), await has_logs(room, one)) == (True, [True] * 3)


async def test_killed_at_any_touch_a_deletion_still_ends_with_nothing_left(room: EngineRoom) -> None:
    """The last fate strikes nobody: then every touch has been the last of one life."""
    for fatal in range(1, 100):
        one, fate = await lived(room, f"p{fatal}"), Fate(fatal)
        await delete(room, Deletable.SERVICE, one.instance.service_id, fate)
        assert not await has_upload(room, one), fatal
        assert await recorded_uploads(room, one) == [], fatal
        if not fate.has_struck:
            break
    assert fatal > 5
    await drop_logs(room)
    assert await room.log_store.streams(room.platform.workspace_id) == []
    replayed = await replay(room.platform.owner, [room.platform.workspace_id], READ_MODELS)
    assert replayed.changed == ()


async def test_logs_of_another_workspace_are_not_looked_at(room: EngineRoom, platform: Platform) -> None:
    other = Stream(await another_workspace(platform, "other"), LogKind.DEPLOY, new_id())
    one = await lived(room, "shop")
    await room.log_store.append(other, [Line(platform.database.clock.now(), "said")])
    await drop_logs(room)
    assert await room.log_store.read(other)
    assert await has_logs(room, one) == [True] * 3


async def test_a_deletion_that_ends_asks_for_the_logs_to_be_dropped_when_their_writers_have_noticed(
    room: EngineRoom,
) -> None:
    one = await lived(room, "shop")
    await delete(room, Deletable.PROJECT, one.instance.project_id)
    async with room.platform.owner.transaction() as tx:
        query = "SELECT scheduled_at - now(), args ->> 'workspace_id' FROM jobs.procrastinate_jobs WHERE task_name = "
        rows = (await tx.connection.execute(text(query + "'telemetry.drop_logs'"))).all()
    assert [row[1] for row in rows] == [str(room.platform.workspace_id)]
    assert LATE / 2 < rows[0][0].total_seconds() <= LATE


async def test_the_job_that_drops_logs_tries_again_until_it_can(room: EngineRoom) -> None:
    one = await lived(room, "shop")
    await delete(room, Deletable.PROJECT, one.instance.project_id)
    tries: list[UUID] = []

    async def refuse_once(workspace_id: UUID) -> bool:
        tries.append(workspace_id)
        if len(tries) == 1:
            raise LogsUnavailable("The disk refuses.")
        await telemetry.drop_unowned(room.platform.database, room.log_store, workspace_id)
        return True

    parts = room.platform
    jobs = Jobs(parts.database.url)
    deployer.declare(
        deployer.Deployer(parts.database, jobs, room.engine, room.runtime, Nudges(), drop_logs=refuse_once)
    )
    async with parts.owner.transaction() as tx:
        await tx.connection.execute(text("SET LOCAL search_path TO jobs"))
        await tx.connection.execute(text("DELETE FROM procrastinate_jobs"))  # the deletion's own, which would wait
    async with parts.database.transaction() as tx:
        await jobs.defer(tx, replace(drop_logs_of(parts.workspace_id), queue="tests", delay_seconds=0))
    working = asyncio.create_task(run_jobs(jobs, [Lane("tests", 1)]))
    async with asyncio.timeout(20):
        while any(await has_logs(room, one)):
            await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert tries == [parts.workspace_id] * 2


async def test_a_job_with_a_delay_is_done_once_and_not_before_it_is_over(platform: Platform) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    times: list[float] = []
    jobs = Jobs(platform.database.url)

    async def note() -> None:
        times.append(loop.time())
        done.set()

    jobs.task("tests.note", "tests", note)
    working = asyncio.create_task(run_jobs(jobs, [Lane("tests", 1)]))
    async with platform.database.transaction() as tx:
        await jobs.defer(tx, Job("tests.note", {}, "tests", delay_seconds=1))
    asked = loop.time()
    async with asyncio.timeout(20):
        await done.wait()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert len(times) == 1
    assert times[0] - asked > 0.9
