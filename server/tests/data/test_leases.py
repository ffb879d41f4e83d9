"""Jobs of a worker that died come back at once; those of a living one never do."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from conftest import Platform
from trackside.entry.worker.running import STALLED, Lane, run_jobs
from trackside.kit.jobs import Job, Jobs

HANGING = Path(__file__).with_name("hang_for_ever.py")


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def defer(platform: Platform, name: str) -> None:
    async with platform.database.transaction() as tx:
        await platform.jobs.defer(tx, Job("test", {"name": name}, "tests", lock="one", unique="one"))


@contextmanager
def a_worker_that_hangs(platform: Platform, file: Path):
    process = subprocess.Popen([sys.executable, str(HANGING), platform.database.url, str(file)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def a_worker(platform: Platform, jobs: Jobs | None = None) -> AsyncGenerator[list[str]]:
    """One in this process; the jobs it has done."""
    jobs, done = jobs or Jobs(platform.database.url), list[str]()

    async def note(name: str) -> None:
        done.append(name)

    jobs.task("test", "tests", note)
    working = asyncio.create_task(run_jobs(jobs, [Lane("tests", 4)]))
    try:
        yield done
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


class FailsAsItEnds(Jobs):
    """As with a server that goes at that moment."""

    is_held = False

    async def hold_lease(self, worker_id: int) -> None:
        self.is_held = True
        try:
            await super().hold_lease(worker_id)
        except asyncio.CancelledError:
            raise ConnectionError from None


class LosesItsLeaseOnce(Jobs):
    """As when the server restarts."""

    count = 0

    async def hold_lease(self, worker_id: int) -> None:
        self.count += 1
        if self.count == 1:
            raise ConnectionError
        await super().hold_lease(worker_id)


async def test_a_worker_whose_lease_is_lost_begins_again(platform: Platform) -> None:
    jobs = LosesItsLeaseOnce(platform.database.url)
    async with a_worker(platform, jobs) as done:
        await until(lambda: jobs.count == 2)
        await defer(platform, "later")
        await until(lambda: done == ["later"])


async def test_a_worker_that_is_told_to_ends_though_something_fails_at_that_moment(platform: Platform) -> None:
    jobs = FailsAsItEnds(platform.database.url)
    working = asyncio.create_task(run_jobs(jobs, [Lane("tests", 4)]))
    await until(lambda: jobs.is_held)
    working.cancel()
    done, _ = await asyncio.wait((working,), timeout=10)
    working.cancel()
    assert done
    assert working.cancelled()


async def test_the_job_of_a_killed_worker_is_done_by_another_long_before_its_heartbeat_is_missed(
    platform: Platform, tmp_path: Path
) -> None:
    with a_worker_that_hangs(platform, tmp_path / "begun") as process:
        await defer(platform, "first")
        await until((tmp_path / "begun").exists)
        async with a_worker(platform) as done:
            killed = time.monotonic()
            process.kill()
            await until(lambda: done == ["first"])
            assert time.monotonic() - killed < STALLED / 2


async def test_a_waiting_twin_does_not_keep_the_job_of_a_killed_worker_for_ever(
    platform: Platform, tmp_path: Path
) -> None:
    with a_worker_that_hangs(platform, tmp_path / "begun") as process:
        await defer(platform, "first")
        await until((tmp_path / "begun").exists)
        await defer(platform, "twin")
        process.kill()
    async with a_worker(platform) as done:
        await until(lambda: done == ["twin"])
        await defer(platform, "third")
        await until(lambda: done == ["twin", "third"])


async def test_the_job_of_a_worker_that_lives_stays_with_it(platform: Platform, tmp_path: Path) -> None:
    with a_worker_that_hangs(platform, tmp_path / "begun"):
        await defer(platform, "first")
        await until((tmp_path / "begun").exists)
        await asyncio.sleep(1.5)  # longer than a worker may take to come up
        await platform.jobs.app.open_async()
        try:
            assert await platform.jobs.rescue(STALLED) == 0
        finally:
            await platform.jobs.app.close_async()


@pytest.mark.timeout(60)
async def test_the_job_of_a_worker_that_stands_still_is_done_by_another_in_the_end(
    platform: Platform, tmp_path: Path
) -> None:
    with a_worker_that_hangs(platform, tmp_path / "begun") as process:
        await defer(platform, "first")
        await until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGSTOP)
        async with a_worker(platform) as done:
            await until(lambda: done == ["first"], STALLED * 3)
