"""Workers need not ask all the time: the database tells them of work that can be begun now."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from conftest import Platform
from trackside.entry.worker.running import POLL, Lane, run_jobs
from trackside.kit.jobs import Job, Jobs

QUEUE = "tests"


@asynccontextmanager
async def working(jobs: Jobs) -> AsyncIterator[None]:
    task = asyncio.create_task(run_jobs(jobs, [Lane(QUEUE, 2)]))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_job_begins_when_the_lock_that_it_waited_for_is_free(platform: Platform) -> None:
    jobs, began = Jobs(platform.database.url), dict[str, float]()
    release, both = asyncio.Event(), asyncio.Event()

    async def work(name: str) -> None:
        began[name] = asyncio.get_running_loop().time()
        (both if len(began) == 2 else asyncio.Event()).set()
        await release.wait()

    jobs.task("tests.work", QUEUE, work)
    for name in ("first", "second"):
        async with platform.database.transaction() as tx:
            await jobs.defer(tx, Job("tests.work", {"name": name}, QUEUE, lock="one"))
    async with working(jobs), asyncio.timeout(20):
        while not began:
            await asyncio.sleep(0.01)
        looked = asyncio.get_running_loop().time()
        while (
            asyncio.get_running_loop().time() < looked + POLL / 4
        ):  # so that a look on its own can't be what begins it
            await asyncio.sleep(0.01)
        released = asyncio.get_running_loop().time()
        release.set()
        await both.wait()
    assert began["second"] - released < POLL / 2
