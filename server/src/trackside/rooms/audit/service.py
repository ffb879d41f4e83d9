"""Use cases of audit: reading and following the workspace's events."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from uuid import UUID

from trackside.kit.db import Database, Transaction
from trackside.kit.errors import Kind, TracksideError
from trackside.kit.events import Recorded
from trackside.rooms.access.model import Actor, Permission
from trackside.rooms.access.service import require
from trackside.rooms.audit import plan, store
from trackside.rooms.audit.errors import EventTypeUnknown
from trackside.rooms.audit.model import About, EventQuery, Fact, Page, Subjects, Told
from trackside.rooms.deployments import service as deployments
from trackside.rooms.identity import service as identity
from trackside.rooms.projects import service as projects

PAGE = 500
"""Events read at once while following."""
LOOK = 0.5
"""Seconds between looks for new events; the number of the last one tells that there are none."""
QUIET_LOOKS = 8
"""After so many looks without an event, a follower is given a sign of life."""


async def read_events(tx: Transaction, actor: Actor, query: EventQuery) -> Page:
    """A page of the workspace's events. Errors: those of `check_query`."""
    # The last number first: whatever belongs to an event up to it is in the tables that are read after it.
    last = await store.last_number(tx)
    return await _page(tx, query, await check_query(tx, actor, query), last)


async def check_query(tx: Transaction, actor: Actor, query: EventQuery) -> Subjects | None:
    """What the events asked for may be about; None: anything. Errors: `EventTypeUnknown`; 404 of what is asked about."""
    require(actor, Permission.EVENT_READ, projects.scope(tx, "The workspace"))
    for name in query.types:
        if name not in plan.SENTENCES:
            raise EventTypeUnknown(f"There is no event type `{name[:60]}`.")
    return await _subjects(tx, actor, query.about)


async def follow_events(
    database: Database, actor: Actor, workspace_id: UUID, query: EventQuery, subjects: Subjects | None
) -> AsyncGenerator[Told | None]:
    """Each event once and in order, from `query.after` on, as they come; None as a sign of life.

    Ends when the actor may no longer act, and after `query.until`. Reads from the database alone, so that a follower that
    goes on from the last number it saw, here or at another gateway, misses and repeats nothing.
    """
    quiet = QUIET_LOOKS  # begin with a sign of life: the client knows that it was let in
    while True:
        async with database.transaction(workspace_id) as tx:
            if not await identity.still_acts(tx, actor):
                return
            last = await store.last_number(tx)
            is_past = query.until is not None and tx.clock.now() > query.until
            subjects = await _subjects_again(tx, actor, query.about, subjects) if last > query.after else subjects
            page = await _page(tx, query, subjects, last)
        for told in page.events:
            yield told
        query = replace(query, after=page.cursor)
        if page.events:
            quiet = 0
            continue
        if is_past:
            return
        quiet += 1
        if quiet > QUIET_LOOKS:
            quiet = 0
            yield None
        await asyncio.sleep(LOOK)


async def _page(tx: Transaction, query: EventQuery, subjects: Subjects | None, last: int) -> Page:
    found = await store.page(tx, query, subjects, last) if last > query.after else []
    is_whole = query.newest or len(found) < query.limit
    return Page(tuple(await _tell(tx, found)), max(query.after, last) if is_whole else found[-1].seq)


async def _subjects_again(
    tx: Transaction, actor: Actor, about: About, before: Subjects | None
) -> Subjects | None:  # fmt: skip
    """What is asked about as it is now; what is being deleted stays what it was, so that its end is told too."""
    try:
        return await _subjects(tx, actor, about)
    except TracksideError as error:
        if error.kind is not Kind.MISSING:
            raise
        return before


async def _subjects(tx: Transaction, actor: Actor, about: About) -> Subjects | None:
    if about == About():
        return None
    if about.deployment_id is not None:
        await deployments.read_deployment(tx, actor, about.deployment_id)
        return Subjects(frozenset({about.deployment_id}))
    project_id = await _project_of(tx, actor, about)
    environments = await projects.list_environments(tx, actor, project_id)
    services = await projects.list_services(tx, actor, project_id)
    instances = [one.id for one in await projects.list_instances(tx, project_id) if plan.fits(about, one)]
    deployed = await deployments.ids_of_deployments(tx, instances)
    return plan.subjects_of(
        replace(about, project_id=project_id),
        [one.id for one in environments],
        [one.id for one in services],
        [*instances, *deployed],
    )


async def _project_of(tx: Transaction, actor: Actor, about: About) -> UUID:
    """The project that all that is asked about is in. Errors: 404 of what is not there."""
    within: list[UUID] = [about.project_id] if about.project_id else []
    if about.environment_id is not None:
        within.append((await projects.read_environment(tx, actor, about.environment_id)).project_id)
    if about.service_id is not None:
        within.append((await projects.read_service(tx, actor, about.service_id)).project_id)
    return (await projects.read_project(tx, actor, within[0])).id


async def _tell(tx: Transaction, found: Sequence[Recorded]) -> list[Told]:
    """The events with the names of what they are about, also where that is long gone."""
    facts = [Fact(one.seq, one.id, one.type, one.at, one.actor, store.builtins(one.event)) for one in found]
    known: dict[str, plan.Creation] = {}
    unknown = {named for fact in facts for named in plan.ids_in(fact.data)}
    while unknown:
        fresh = await store.creations(tx, unknown)
        known |= fresh
        unknown = {named for creation in fresh.values() for named in plan.ids_in(creation.data)} - known.keys()
    return [plan.tell(fact, known) for fact in facts]
