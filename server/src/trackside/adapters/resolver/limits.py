"""How much one client may ask, so that nobody starves the others: how often, and how much at once. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Address

RATE = 500.0
BURST = 1000.0
CLIENTS = 10_000
OF_CLIENT = 128
OF_ALL = 4096


@dataclass
class RateLimit:
    """Questions per second and client: a bucket for each, refilled with time."""

    rate: float = RATE
    burst: float = BURST
    _buckets: dict[IPv4Address, tuple[float, float]] = field(default_factory=dict)

    def allows(self, client: IPv4Address, now: float) -> bool:
        """Whether the client may ask at `now` (seconds of a clock that only goes forward); counts the question."""
        tokens, at = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - at) * self.rate)
        allowed = tokens >= 1
        # Put back at the end: the first in the table is who was quiet for longest.
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        return allowed


@dataclass
class Outstanding:
    """Questions that outside resolvers have not answered yet: each holds a socket for seconds where its name's servers are silent."""

    of_client: int = OF_CLIENT
    of_all: int = OF_ALL
    _counts: Counter[IPv4Address] = field(default_factory=Counter[IPv4Address])

    def begin(self, client: IPv4Address) -> bool:
        """Whether one more of the client's may be passed on; counts it until its `end`."""
        if self._counts[client] >= self.of_client or self._counts.total() >= self.of_all:
            return False
        self._counts[client] += 1
        return True

    def end(self, client: IPv4Address) -> None:
        """One of the client's was answered, or given up."""
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
