"""The deployer: converges service instances, pulls images, clears away what was deleted; wakes by job, nudge and timer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from trackside.entry.worker.collecting import AGAIN, collecting
from trackside.entry.worker.nudges import Nudges, forever
from trackside.entry.worker.running import Lane, run_jobs
from trackside.kit.db import Database
from trackside.kit.errors import TracksideError
from trackside.kit.jobs import Job, Jobs
from trackside.rooms.deployments import tasks
from trackside.rooms.deployments.errors import RuntimeUnavailable
from trackside.rooms.deployments.ports import Runtime
from trackside.rooms.deployments.service.engine import Engine, deletion
from trackside.rooms.networking.service import REPORT_CHANNEL
from trackside.rooms.telemetry import tasks as telemetry

log = structlog.get_logger()
LANES = (Lane(tasks.CONVERGE_QUEUE, 256), Lane(tasks.PULL_QUEUE, 16), Lane(tasks.CLEAR_QUEUE, 16))
"""A deployment keeps its place among the first for as long as it takes to be well and the old one to drain; waiting costs little."""
LOOK = 10.0
"""Seconds between looks at everything that is due."""
PAUSE = 0.3
GARBAGE_LOOKS = 200
"""Looks, with a pause each, for which a job for garbage waits: for containers to be gone, or an engine or a database to be back."""
DELETION_LOOKS = 40
"""Looks, with a pause each, for which a deletion waits for what it sent away; then the timer asks again: very many deletions must
leave each other room."""


@dataclass(frozen=True)
class Deployer:
    """What the process works with."""

    database: Database
    jobs: Jobs
    engine: Engine
    runtime: Runtime
    nudges: Nudges
    drop_logs: Callable[[UUID], Awaitable[bool]]
    """Drop the logs of what was deleted; whether that was all."""


async def run(deployer: Deployer) -> None:
    """Work until cancelled."""
    declare(deployer)
    async with asyncio.TaskGroup() as group:
        group.create_task(run_jobs(deployer.jobs, LANES))
        group.create_task(forever("edge reports", lambda: _reports(deployer)))
        group.create_task(forever("container events", lambda: _containers(deployer)))
        group.create_task(forever("timer", lambda: _timer(deployer)))
        group.create_task(forever("garbage", lambda: collecting("the apps' engine", deployer.engine.collect), AGAIN))
        group.create_task(forever("uploads", lambda: collecting("uploads", deployer.engine.collect_uploads), AGAIN))


def declare(deployer: Deployer) -> None:
    """The jobs of this process."""
    engine = deployer.engine

    async def converge(workspace_id: str, instance_id: str) -> None:
        await _converge(deployer, UUID(workspace_id), UUID(instance_id))

    async def prepare(workspace_id: str, deployment_id: str) -> None:
        await engine.prepare(UUID(workspace_id), UUID(deployment_id))

    async def clear_away(workspace_id: str, kind: str, subject_id: str) -> None:
        wanted = deletion(UUID(workspace_id), kind, UUID(subject_id))
        for _ in range(DELETION_LOOKS):
            if await engine.clear_away(wanted):
                return
            await asyncio.sleep(PAUSE)

    async def collect_images(workspace_id: str, instance_id: str) -> None:
        await _patiently("images", lambda: engine.collect_images(UUID(workspace_id), UUID(instance_id)))

    async def drop_logs(workspace_id: str) -> None:
        await _patiently("logs", lambda: deployer.drop_logs(UUID(workspace_id)))

    deployer.jobs.task(tasks.CONVERGE, tasks.CONVERGE_QUEUE, converge)
    deployer.jobs.task(tasks.PREPARE, tasks.PULL_QUEUE, prepare)
    deployer.jobs.task(tasks.CLEAR_AWAY, tasks.CLEAR_QUEUE, clear_away)
    deployer.jobs.task(tasks.COLLECT_IMAGES, tasks.CLEAR_QUEUE, collect_images)
    deployer.jobs.task(telemetry.DROP_LOGS, telemetry.QUEUE, drop_logs)


async def _converge(deployer: Deployer, workspace_id: UUID, instance_id: UUID) -> None:
    """Until it rests, and nothing was told since the last look."""
    with deployer.nudges.attend(instance_id) as attention:
        await deployer.engine.converge(workspace_id, instance_id, attention.wait)
        while attention.take():
            await deployer.engine.converge(workspace_id, instance_id, attention.wait)


async def _patiently(what: str, remove: Callable[[], Awaitable[bool]]) -> None:
    """Until `remove` says that all is gone, for a minute; what is left goes with the next collection."""
    for _ in range(GARBAGE_LOOKS):
        try:
            if await remove():
                return
        except (TracksideError, SQLAlchemyError) as error:
            log.warning("garbage can't be removed now", what=what, error=str(error))
        await asyncio.sleep(PAUSE)


async def _reports(deployer: Deployer) -> AsyncIterator[None]:
    async for payload in deployer.database.listen(REPORT_CHANNEL):
        if payload:
            workspace_id, instance_id = (UUID(part) for part in payload.split(":"))
            await _wake(deployer, workspace_id, instance_id)
        yield


async def _containers(deployer: Deployer) -> AsyncIterator[None]:
    async for workspace_id, instance_id in deployer.runtime.watch():
        await _wake(deployer, workspace_id, instance_id)
        yield


async def _wake(deployer: Deployer, workspace_id: UUID, instance_id: UUID) -> None:
    if not deployer.nudges.nudge(instance_id):
        await _defer(deployer, [tasks.converge(workspace_id, instance_id)])


async def _defer(deployer: Deployer, jobs: list[Job]) -> None:
    async with deployer.database.transaction() as tx:
        for job in jobs:
            await deployer.jobs.defer(tx, job)


async def _timer(deployer: Deployer) -> AsyncIterator[None]:
    """Find everything that waits for work, so that a lost job is only late."""
    engine = deployer.engine
    while True:
        wanted = [tasks.prepare(workspace_id, deployment_id) for workspace_id, deployment_id in await engine.unpulled()]
        for one in await engine.deletions():
            wanted.append(tasks.clear_away(one.workspace_id, str(one.kind), one.subject_id))
        await _defer(deployer, wanted)
        try:
            restless = await engine.restless()  # last: it can do nothing without the engine
        except RuntimeUnavailable:  # and those under way are to say that they wait for it
            deploying = await engine.deploying()
            await _defer(
                deployer, [tasks.converge(workspace_id, instance_id) for workspace_id, instance_id in deploying]
            )
            raise
        await _defer(deployer, [tasks.converge(workspace_id, instance_id) for workspace_id, instance_id in restless])
        yield
        await asyncio.sleep(LOOK)
