"""What an upgrade asks of the database: which migrations are to come, and whether the platform's processes do their work."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from sqlalchemy import text

from trackside.kit.db import Database, schema_of
from trackside.kit.errors import Kind, TracksideError
from trackside.kit.ids import new_id
from trackside.kit.jobs import SCHEMA, Jobs
from trackside.migrations.run import revision_of, revisions
from trackside.rooms.deployments import tasks
from trackside.rooms.identity import service as identity
from trackside.rooms.networking import service as networking

WORKING_SECONDS = 60


class SchemaNewer(TracksideError):
    code = "entry.schema_newer"
    kind = Kind.CONFLICT
    hint = "Going back to the version before is safe: `--allow-downgrade`. To one before that, only with the saved database."


class ProcessesIdle(TracksideError):
    code = "entry.processes_idle"
    kind = Kind.UNAVAILABLE
    hint = "Read the processes' logs; `bin/trackside server doctor` looks for what they need."


async def migrations_to_come(owner: Database, *, allow_newer: bool) -> list[str]:
    """`platform 0002`, `tenant 0002 (3 workspaces)`. Errors: `SchemaNewer`, unless that is allowed."""
    async with owner.transaction() as tx:
        workspaces = [workspace.id for workspace in await identity.all_workspaces(tx)]
        platform = await tx.connection.run_sync(revision_of, "platform")
        tenants = [await tx.connection.run_sync(revision_of, schema_of(each)) for each in workspaces]
    newer = [f"platform {platform}"] if platform not in revisions("platform") else []
    newer += [f"tenant {found}" for found in sorted({found or "" for found in tenants} - set(revisions("tenant")))]
    if newer and not allow_newer:
        raise SchemaNewer(f"The schemas were made by a newer version: {', '.join(newer)}.")
    found = [f"platform {revision}" for revision in _after(platform, revisions("platform"))]
    for revision in _after(None, revisions("tenant")):
        behind = sum(revision in _after(tenant, revisions("tenant")) for tenant in tenants)
        found += [f"tenant {revision} (workspaces: {behind})"] if behind else []
    return found


def _after(present: str | None, known: Iterable[str]) -> list[str]:
    """The revisions that follow, the oldest first; none where the present one is of a newer version."""
    newest_first = list(known)
    if present is None:
        return newest_first[::-1]
    return newest_first[: newest_first.index(present)][::-1] if present in newest_first else []


async def wait_until_working(database: Database, jobs: Jobs, since: datetime, seconds: float = WORKING_SECONDS) -> None:
    """Return when a job that is put in now was done, and the edge has reported since then. Errors: `ProcessesIdle`."""
    async with database.transaction() as tx:
        workspaces = [workspace.id for workspace in await identity.all_workspaces(tx)]
        probe = tasks.converge(workspaces[0], new_id())  # of nothing there is: looked for, not found, done
        await jobs.defer(tx, probe)
    await _until(lambda: _is_done(database, str(probe.unique)), "The deployer did not take up work.", seconds)
    await _until(lambda: _has_reported(database, since), "The edge did not report.", seconds)


async def _until(is_so: Callable[[], Awaitable[bool]], otherwise: str, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await is_so():
                await asyncio.sleep(0.05)
    except TimeoutError as late:
        raise ProcessesIdle(otherwise) from late


async def _is_done(database: Database, key: str) -> bool:
    query = text(f"SELECT 1 FROM {SCHEMA}.procrastinate_jobs WHERE queueing_lock = :key")
    async with database.transaction() as tx:
        return (await tx.connection.execute(query, {"key": key})).first() is None


async def _has_reported(database: Database, since: datetime) -> bool:
    async with database.transaction() as tx:
        return await networking.has_reported(tx, since)
