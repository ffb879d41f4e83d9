"""The timer's look at everything that is due: all of it planned out of one listing of the engine, and nothing touched.

The listing tells less of what runs than a pass sees, and the records are read after it: what looks as if it needed a pass may
turn out to rest, and what is missed by a moment is seen at the next look. A service instance whose records can't be read is left
out, and nothing else with it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from trackside.kit.apart import is_everybodys, tell_left_out
from trackside.kit.clock import Stopwatch
from trackside.kit.db import Database
from trackside.rooms.deployments import plan as planner
from trackside.rooms.deployments import store
from trackside.rooms.deployments.converge import reading
from trackside.rooms.deployments.converge.seeing import Records
from trackside.rooms.deployments.model import SeenReplica
from trackside.rooms.deployments.ports import Runtime

Seen = Mapping[UUID, Sequence[SeenReplica]]
AT_ONCE = 200
"""Service instances read and planned in one go: whatever else the process does waits that long, some 20 ms."""


async def survey(database: Database, runtime: Runtime, stopwatch: Stopwatch) -> list[tuple[UUID, UUID]]:
    """(workspace, service instance) of all that are not at rest. Errors: `RuntimeUnavailable`."""
    seen: dict[UUID, list[SeenReplica]] = defaultdict(list)
    for replica in await runtime.observe_all():
        seen[replica.service_instance_id].append(replica)
    async with database.transaction() as tx:
        due = await store.all_due(tx)
    by_workspace: dict[UUID, list[UUID]] = defaultdict(list)
    for workspace_id, instance_id in due:
        by_workspace[workspace_id].append(instance_id)
    found: list[tuple[UUID, UUID]] = []
    for workspace_id, instance_ids in by_workspace.items():
        for start in range(0, len(instance_ids), AT_ONCE):
            some = instance_ids[start : start + AT_ONCE]
            restless = await _look(database, stopwatch, workspace_id, some, seen)
            found += [(workspace_id, instance_id) for instance_id in restless]
    return found


async def _look(
    database: Database, stopwatch: Stopwatch, workspace_id: UUID, some: Sequence[UUID], seen: Seen
) -> list[UUID]:
    """Those of the workspace's service instances that are not at rest; one by one where they can't be read together."""
    try:
        async with database.transaction(workspace_id) as tx:
            records = await reading.read(tx, stopwatch.read(), *some)
        return _restless(records, seen)
    except Exception as error:
        if is_everybodys(error):
            raise
        if len(some) == 1:
            tell_left_out("the look at what is due", workspace_id, error, instance=str(some[0]))
            return []
    return [each for one in some for each in await _look(database, stopwatch, workspace_id, [one], seen)]


def _restless(records: Mapping[UUID, Records], seen: Seen) -> list[UUID]:
    """What is to be done something for, or said something of: one that waited, perhaps in vain by now, is looked at."""
    return [
        key
        for key, found in records.items()
        if any(deployment.is_held_up for deployment in found.deployments)
        or not planner.is_at_rest(planner.plan(found.snapshot(seen.get(key, ()))))
    ]
