"""The builder: each of its slots takes one build after the other out of the queue that all builders share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from trackside.entry.worker.collecting import AGAIN, collecting
from trackside.entry.worker.nudges import forever
from trackside.kit.db import Database
from trackside.kit.leases import Leases, open_leases
from trackside.rooms.builds.errors import EngineAway, EngineLost
from trackside.rooms.deployments.service.engine import BUILD_CHANNEL, Claim, Engine

log = structlog.get_logger()
LOOK = 5.0
"""Seconds between looks into the queue without a notice: a builder that died elsewhere tells nobody."""
MIRRORS = 30.0
"""Seconds between looks at where the mirrors are."""
AFTER_FAULT = 5.0
"""Seconds for which a build is left alone that could not be done for a fault of the world, so that others have their turn."""


@dataclass(frozen=True)
class BuilderProcess:
    """What the process works with."""

    database: Database
    engine: Engine
    slots: int
    follow_mirrors: Callable[[], Awaitable[None]]
    """Opens the build engine's way to what the names of mirrors and proxies lead to now."""
    after_fault: float = AFTER_FAULT
    building: set[UUID] = field(default_factory=set[UUID])
    resting: dict[UUID, float] = field(default_factory=dict[UUID, float])
    woken: asyncio.Event = field(default_factory=asyncio.Event)


async def run(process: BuilderProcess) -> None:
    """Work until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(forever("mirrors", lambda: _mirrors(process)))
        group.create_task(forever("build queue", lambda: _notices(process)))
        for number in range(process.slots):
            group.create_task(forever(f"build slot {number + 1}", lambda: _slot(process)))
        group.create_task(
            forever("garbage", lambda: collecting("the build engine", process.engine.collect_of_builds), AGAIN)
        )


async def _mirrors(process: BuilderProcess) -> AsyncIterator[None]:
    while True:
        await process.follow_mirrors()
        yield
        await asyncio.sleep(MIRRORS)


async def _notices(process: BuilderProcess) -> AsyncIterator[None]:
    async for _ in process.database.listen(BUILD_CHANNEL):
        process.woken.set()
        yield


async def _slot(process: BuilderProcess) -> AsyncIterator[None]:
    """One build after the other. Whatever breaks ends the slot's connection, and with it its leases."""
    async with open_leases(process.database.url) as leases:
        while True:
            claim = await process.engine.queue.claim(leases, lambda one: _is_left_alone(process, one))
            if claim is None:
                await _wait(process)
            elif not await _build(process, leases, claim):
                # Nothing can be built now: all others keep their places in the queue.
                await asyncio.sleep(process.after_fault)
            yield


async def _wait(process: BuilderProcess) -> None:
    try:
        async with asyncio.timeout(min(LOOK, process.after_fault) if process.resting else LOOK):
            await process.woken.wait()
    except TimeoutError:
        return
    process.woken.clear()


async def _build(process: BuilderProcess, leases: Leases, claim: Claim) -> bool:
    """Build it for as long as the lease on it holds: without, another builder may have begun it again. Whether there is an engine."""
    is_engine_there = True
    process.building.add(claim.deployment_id)
    building = asyncio.ensure_future(process.engine.prepare(claim.workspace_id, claim.deployment_id))
    holding = asyncio.ensure_future(leases.until_lost())
    try:
        await asyncio.wait({building, holding}, return_when=asyncio.FIRST_COMPLETED)
        if not building.done():
            await holding
        await building
    except (SQLAlchemyError, OSError, EngineAway) as error:
        log.warning("a build waits for the world to mend", deployment=str(claim.deployment_id), error=str(error))
        is_engine_there = not isinstance(error, EngineAway) or isinstance(error, EngineLost)
        _let_rest(process, claim)
    except psycopg.Error:
        raise  # the lease is lost, and nothing is wrong with the build
    except Exception:
        _let_rest(process, claim)
        raise
    finally:
        for one in (building, holding):
            one.cancel()
        await asyncio.gather(building, holding, return_exceptions=True)
        process.building.discard(claim.deployment_id)
    await leases.give_up(claim.lease)
    return is_engine_there


def _let_rest(process: BuilderProcess, claim: Claim) -> None:
    process.resting[claim.deployment_id] = asyncio.get_running_loop().time() + process.after_fault


def _is_left_alone(process: BuilderProcess, deployment_id: UUID) -> bool:
    """Whether a slot of this process is at it still (its lease may be lost, and it not know yet), or it is to rest."""
    until = process.resting.get(deployment_id)
    if until is not None and until < asyncio.get_running_loop().time():
        del process.resting[deployment_id]
    return deployment_id in process.building or deployment_id in process.resting
