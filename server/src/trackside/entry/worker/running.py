"""Runs jobs of some queues, gives back those of workers that died, and stops at once when the process is told to."""

import asyncio
from contextlib import suppress

import structlog
from procrastinate.worker import Worker

from trackside.kit.jobs import Jobs

log = structlog.get_logger()
POLL = 0.25
"""Seconds between looks for jobs without a notice: the end of a job that held a lock tells nobody."""
HEARTBEAT = 2.0
STALLED = 8.0
"""Seconds without a heartbeat after which a worker's jobs are given to others."""


async def run_jobs(jobs: Jobs, queues: list[str], concurrency: int) -> None:
    """Work until cancelled; begins again when the database went away."""
    while True:
        try:
            async with jobs.app.open_async():
                await _work(jobs, queues, concurrency)
        except Exception as error:  # noqa: BLE001 — a database that restarts must not end the process
            log.warning("the job queue broke off", error=str(error))
        await asyncio.sleep(1)


async def _work(jobs: Jobs, queues: list[str], concurrency: int) -> None:
    worker = Worker(
        app=jobs.app,
        queues=queues,
        concurrency=concurrency,
        fetch_job_polling_interval=POLL,
        shutdown_graceful_timeout=1.0,
        delete_jobs="always",
        install_signal_handlers=False,
        update_heartbeat_interval=HEARTBEAT,
        stalled_worker_timeout=STALLED,
    )
    rescuing = asyncio.ensure_future(_rescue(jobs))
    try:
        await worker.run()
    finally:
        rescuing.cancel()
        with suppress(asyncio.CancelledError):
            await rescuing


async def _rescue(jobs: Jobs) -> None:
    while True:
        if count := await jobs.rescue(STALLED):
            log.info("gave back jobs of workers that died", count=count)
        await asyncio.sleep(STALLED / 2)
