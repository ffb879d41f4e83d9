"""The builder: takes one build after the other (as many at once as there are slots)."""

from dataclasses import dataclass
from uuid import UUID

from trackside.entry.worker.running import run_jobs
from trackside.kit.jobs import Jobs
from trackside.rooms.deployments import tasks
from trackside.rooms.deployments.service.engine import Engine


@dataclass(frozen=True)
class BuilderProcess:
    """What the process works with."""

    jobs: Jobs
    engine: Engine
    slots: int


async def run(process: BuilderProcess) -> None:
    """Work until cancelled."""

    async def prepare(workspace_id: str, deployment_id: str) -> None:
        await process.engine.prepare(UUID(workspace_id), UUID(deployment_id))

    process.jobs.task(tasks.PREPARE, tasks.BUILDER_QUEUE, prepare)
    await run_jobs(process.jobs, [tasks.BUILDER_QUEUE], process.slots)
