"""Jobs: work that outlives a request. A job carries ids only, is written in the transaction that wants it, and may run twice."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import procrastinate
from procrastinate import exceptions
from procrastinate.jobs import Status

from trackside.kit import failpoints
from trackside.kit.db import Transaction
from trackside.kit.leases import open_leases

SCHEMA = "jobs"
LEASE = "worker:"
"""With its id behind it, the lease that a worker holds while it lives."""
GRACE_SECONDS = 1
"""A worker has taken its lease by then; until then one without it may just be coming up."""
LEFT = """
SELECT job.id FROM procrastinate_jobs job LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
WHERE job.status = 'doing' AND worker.id IS DISTINCT FROM %(own)s AND (
    worker.id IS NULL
    OR worker.last_heartbeat < now() - make_interval(secs => %(stalled)s)
    OR worker.last_heartbeat < now() - make_interval(secs => %(grace)s) AND NOT EXISTS (
        SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND (classid::bigint << 32 | objid::bigint) = hashtextextended(%(lease)s || worker.id, 0)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
)
"""


@dataclass(frozen=True)
class Job:
    """A job to do. `lock`: jobs with the same lock never run at once. `unique`: one waiting job of this key is enough.

    `delay_seconds`: it is not begun earlier.
    """

    task: str
    arguments: dict[str, str]
    queue: str
    lock: str | None = None
    unique: str | None = None
    priority: int = 0
    delay_seconds: int = 0


class Jobs:
    """The job queue, in the schema `jobs` of our database."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self.app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=database_url, kwargs={"options": f"-c search_path={SCHEMA}"}, min_size=1, max_size=4
            )
        )

    def task(self, name: str, queue: str, run: Callable[..., Awaitable[None]]) -> None:
        """Declare what a task does."""

        async def attended(**arguments: str) -> None:
            with failpoints.around(name):
                await run(**arguments)

        self.app.task(name=name, queue=queue, pass_context=False)(attended)

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
            schedule_in={"seconds": job.delay_seconds} if job.delay_seconds else None,
        )
        with suppress(exceptions.AlreadyEnqueued):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
                await deferrer.defer_async(**job.arguments)
                await connection.execute("SET LOCAL search_path TO DEFAULT")

    async def hold_lease(self, worker_id: int) -> None:
        """Hold a worker's lease until cancelled. Errors: `psycopg.Error` where it is lost."""
        async with open_leases(self._url) as leases:
            await leases.take(f"{LEASE}{worker_id}")
            await leases.until_lost()

    async def rescue(self, stalled_seconds: float, own: int | None = None) -> int:
        """Give jobs of workers that died, or have not been heard of for so long, back to the queue; the number of them.

        `own` is the worker that asks: it knows what it does, however late its heartbeat is.
        """
        values = {"stalled": stalled_seconds, "grace": GRACE_SECONDS, "lease": LEASE, "own": own}
        left = await self.app.connector.execute_query_all_async(LEFT, **values)
        for row in left:
            await self._give_back(row["id"])
        return len(left)

    async def _give_back(self, job_id: int) -> None:
        manager = self.app.job_manager
        with suppress(exceptions.ConnectorException):  # another was quicker, or it has ended after all
            try:
                await manager.retry_job_by_id_async(job_id, datetime.now(UTC))
            except exceptions.UniqueViolation:  # a twin waits, and can't begin while this one holds its lock
                await manager.finish_job_by_id_async(job_id, Status.FAILED, delete_job=True)
