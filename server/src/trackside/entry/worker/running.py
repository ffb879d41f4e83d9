"""Runs jobs of some queues, gives back those of workers that died, and stops at once when the process is told to."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

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
    """Work until cancelled; begins again when the database went away."""
    while True:
        try:
            async with jobs.app.open_async(), asyncio.TaskGroup() as group:
                for lane in lanes:
                    group.create_task(_work(jobs, lane))
        except* Exception as error:  # noqa: BLE001 — a database that restarts must not end the process
            log.warning("the job queue broke off", error=str(error.exceptions[0]))
        _end_if_told()
        await asyncio.sleep(1)


def _end_if_told() -> None:
    """A task group of which a child fails as it is cancelled raises that failure, and the cancellation is lost (CPython 3.11, 3.12)."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


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
        group.create_task(worker.run())
        group.create_task(_hold_lease(jobs, worker))
        group.create_task(_rescue(jobs, worker))


async def _hold_lease(jobs: Jobs, worker: Worker) -> None:
    while worker.worker_id is None:
        await asyncio.sleep(REGISTERED)
    await jobs.hold_lease(worker.worker_id)


async def _rescue(jobs: Jobs, worker: Worker) -> None:
    while True:
        if count := await jobs.rescue(STALLED, worker.worker_id):
            log.info("gave back jobs of workers that died", count=count)
        await asyncio.sleep(RESCUE)
