"""Runs jobs of some queues, gives back those of workers that died, and stops at once when the process is told to."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import structlog
from procrastinate.worker import Worker

from trackside.kit.jobs import Jobs

log = structlog.get_logger()
POLL = 2.0
"""Seconds between looks for jobs without a notice: one that was lost, or a job whose delay is over."""
REGISTERED = 0.01
HEARTBEAT = 2.0
RESCUE = 1.0
STALLED = 8.0
"""Seconds without a heartbeat after which a worker's jobs are given to others, should it hang and keep its lease."""


@dataclass(frozen=True)
class Lane:
    """A queue, and how many of its jobs may run at once. Jobs of one lane never wait for those of another."""

    queue: str
    concurrency: int


async def run_jobs(jobs: Jobs, lanes: Sequence[Lane]) -> None:
    """Work until cancelled; begins again when the database went away.

    The work is a task of its own: a task group of which a child fails as it is cancelled loses the cancellation (CPython 3.11, 3.12).
    """
    while True:
        working = asyncio.ensure_future(_work_in(jobs, lanes))
        try:
            await asyncio.wait((working,))
        finally:
            working.cancel()
            await asyncio.wait((working,))
        log.warning("the job queue broke off", error=str(_reason(working)))
        await asyncio.sleep(1)


def _reason(ended: asyncio.Future[None]) -> BaseException | None:
    """What it failed with first: a group of failures says only how many there are."""
    error = None if ended.cancelled() else ended.exception()
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


async def _work_in(jobs: Jobs, lanes: Sequence[Lane]) -> None:
    async with jobs.app.open_async(), asyncio.TaskGroup() as group:
        for lane in lanes:
            group.create_task(_work(jobs, lane))


async def _work(jobs: Jobs, lane: Lane) -> None:
    """Until one of the three breaks: the work, the lease on it, the look for what dead workers have left."""
    worker = Worker(
        app=jobs.app,
        queues=[lane.queue],
        concurrency=lane.concurrency,
        fetch_job_polling_interval=POLL,
        shutdown_graceful_timeout=1.0,
        delete_jobs="always",
        install_signal_handlers=False,
        update_heartbeat_interval=HEARTBEAT,
        stalled_worker_timeout=STALLED,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(_run(worker))
        group.create_task(_hold_lease(jobs, worker))
        group.create_task(_rescue(jobs, worker))


async def _run(worker: Worker) -> None:
    await worker.run()
    raise RuntimeError("a worker ended by itself")


async def _hold_lease(jobs: Jobs, worker: Worker) -> None:
    while worker.worker_id is None:
        await asyncio.sleep(REGISTERED)
    await jobs.hold_lease(worker.worker_id)


async def _rescue(jobs: Jobs, worker: Worker) -> None:
    while True:
        if count := await jobs.rescue(STALLED, worker.worker_id):
            log.info("gave back jobs of workers that died", count=count)
        await asyncio.sleep(RESCUE)
