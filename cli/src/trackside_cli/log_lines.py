"""Lines of several replicas in one log: their order, and short names for who wrote them. Pure."""

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from trackside_cli.client.types import Deployment, LogLine
from trackside_cli.moments import parse_time

LATE = timedelta(seconds=10)
"""A replica's line is stored at most so long after one of another that was written later."""
NEVER = datetime.min.replace(tzinfo=UTC)


def in_time_order(lines: Iterable[LogLine]) -> Iterator[LogLine]:
    """The lines by their times, though they are stored replica by replica; holds back no more than what may be late."""
    held: list[tuple[datetime, int, LogLine]] = []
    newest = NEVER
    for line in lines:
        at = parse_time(line["at"]) or newest
        newest = max(newest, at)
        heapq.heappush(held, (at, line["seq"], line))
        while held and newest - held[0][0] > LATE:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


class ReplicaNames:
    """Short names of a deployment's replicas; there is none as long as only one is known."""

    def __init__(self, deployment: Deployment) -> None:
        self._numbers = {one["id"]: str(one["ordinal"]) for one in deployment["replicas"]}
        self._known = set(self._numbers)

    def of(self, line: LogLine) -> str:
        """The number of the replica that wrote the line; the end of its id where it is gone; empty for an only one."""
        replica_id = line["replica_id"]
        if replica_id is None:
            return ""
        self._known.add(replica_id)
        return self._numbers.get(replica_id, replica_id[-4:]) if len(self._known) > 1 else ""
