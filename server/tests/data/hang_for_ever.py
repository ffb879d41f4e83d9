"""A worker whose job never ends: `hang_for_ever.py DATABASE_URL FILE`; the file is there once the job was begun."""

import asyncio
import sys
from pathlib import Path

from trackside.entry.worker.running import Lane, run_jobs
from trackside.kit.jobs import Jobs


async def main(url: str, file: Path) -> None:
    jobs = Jobs(url)

    async def hang(name: str) -> None:
        file.touch()
        await asyncio.Event().wait()

    jobs.task("test", "tests", hang)
    await run_jobs(jobs, [Lane("tests", 4)])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
