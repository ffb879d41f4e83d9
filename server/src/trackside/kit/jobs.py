"""Jobs: work that outlives a request. A job carries ids only, is written in the transaction that wants it, and may run twice."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import procrastinate
from procrastinate import exceptions

from trackside.kit.db import Transaction

SCHEMA = "jobs"


@dataclass(frozen=True)
class Job:
    """A job to do. `lock`: jobs with the same lock never run at once. `unique`: one waiting job of this key is enough."""

    task: str
    arguments: dict[str, str]
    queue: str
    lock: str | None = None
    unique: str | None = None
    priority: int = 0


class Jobs:
    """The job queue, in the schema `jobs` of our database."""

    def __init__(self, database_url: str) -> None:
        self.app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=database_url, kwargs={"options": f"-c search_path={SCHEMA}"}, min_size=1, max_size=4
            )
        )

    def task(self, name: str, queue: str, run: Callable[..., Awaitable[None]]) -> None:
        """Declare what a task does."""
        self.app.task(name=name, queue=queue, pass_context=False)(run)

    async def defer(self, tx: Transaction, job: Job) -> None:
        """Write the job in the caller's transaction; a waiting twin (`unique`) makes it a no-op."""
        connection = await tx.raw()
        deferrer = self.app.configure_task(
            job.task,
            allow_unknown=True,
            connection=connection,
            queue=job.queue,
            lock=job.lock,
            queueing_lock=job.unique,
            priority=job.priority,
        )
        with suppress(exceptions.AlreadyEnqueued):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
                await deferrer.defer_async(**job.arguments)
                await connection.execute("SET LOCAL search_path TO DEFAULT")

    async def rescue(self, stalled_seconds: float) -> int:
        """Give jobs of workers that died back to the queue; the number of them."""
        manager = self.app.job_manager
        stalled: list[Any] = list(await manager.get_stalled_jobs(seconds_since_heartbeat=stalled_seconds))
        for job in stalled:
            await manager.retry_job(job)
        return len(stalled)
