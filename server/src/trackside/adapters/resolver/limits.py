"""How much one client may ask: a bucket per client, refilled with time, so that nobody starves the others. Pure."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address

RATE = 500.0
BURST = 1000.0
CLIENTS = 10_000


@dataclass
class RateLimit:
    """Questions per second and client."""

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
