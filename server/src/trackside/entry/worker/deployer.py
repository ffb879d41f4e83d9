"""The deployer: converges service instances, pulls images, clears away what was deleted; wakes by job, nudge and timer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import structlog

from trackside.entry.worker.nudges import Nudges, forever
from trackside.entry.worker.running import run_jobs
from trackside.kit.db import Database
from trackside.kit.jobs import Job, Jobs
from trackside.rooms.deployments import tasks
from trackside.rooms.deployments.ports import Runtime
from trackside.rooms.deployments.service.engine import Engine, deletion
from trackside.rooms.networking.service import REPORT_CHANNEL

log = structlog.get_logger()
LOOK = 10.0
"""Seconds between looks at everything that is due."""
DELETION_PAUSE = 0.3
CONCURRENCY = 64


@dataclass(frozen=True)
class Deployer:
    """What the process works with."""

    database: Database
    jobs: Jobs
    engine: Engine
    runtime: Runtime
    nudges: Nudges


async def run(deployer: Deployer) -> None:
    """Work until cancelled."""
    declare(deployer)
    async with asyncio.TaskGroup() as group:
        group.create_task(run_jobs(deployer.jobs, [tasks.DEPLOYER_QUEUE], CONCURRENCY))
        group.create_task(forever("edge reports", lambda: _reports(deployer)))
        group.create_task(forever("container events", lambda: _containers(deployer)))
        group.create_task(forever("timer", lambda: _timer(deployer)))


def declare(deployer: Deployer) -> None:
    """The jobs of this process."""
    engine = deployer.engine

    async def converge(workspace_id: str, instance_id: str) -> None:
        with deployer.nudges.attend(UUID(instance_id)) as wait:
            await engine.converge(UUID(workspace_id), UUID(instance_id), wait)

    async def prepare(workspace_id: str, deployment_id: str) -> None:
        await engine.prepare(UUID(workspace_id), UUID(deployment_id))

    async def clear_away(workspace_id: str, kind: str, subject_id: str) -> None:
        wanted = deletion(UUID(workspace_id), kind, UUID(subject_id))
        while not await engine.clear_away(wanted):
            await asyncio.sleep(DELETION_PAUSE)

    async def collect_images(workspace_id: str, instance_id: str) -> None:
        await engine.collect_images(UUID(workspace_id), UUID(instance_id))

    deployer.jobs.task(tasks.CONVERGE, tasks.DEPLOYER_QUEUE, converge)
    deployer.jobs.task(tasks.PREPARE, tasks.DEPLOYER_QUEUE, prepare)
    deployer.jobs.task(tasks.CLEAR_AWAY, tasks.DEPLOYER_QUEUE, clear_away)
    deployer.jobs.task(tasks.COLLECT_IMAGES, tasks.DEPLOYER_QUEUE, collect_images)


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
    """Nudge everything that is due, so that a lost job is only late."""
    while True:
        due = await deployer.engine.due()
        wanted = [tasks.converge(workspace_id, instance_id) for workspace_id, instance_id in due]
        for workspace_id in {workspace_id for workspace_id, _ in due}:
            for deployment_id, is_image in await deployer.engine.unprepared(workspace_id):
                wanted.append(tasks.prepare(workspace_id, deployment_id, is_image=is_image))
        for one in await deployer.engine.deletions():
            wanted.append(tasks.clear_away(one.workspace_id, str(one.kind), one.subject_id))
        await _defer(deployer, wanted)
        yield
        await asyncio.sleep(LOOK)
