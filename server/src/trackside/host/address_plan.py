"""Which private addresses an installation takes. Pure: what is taken in, a free network out."""

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Network

from trackside.host.errors import AddressesExhausted

BUILD_PREFIX = 24


def pool_candidates(seed: int) -> Iterator[IPv4Network]:
    """Every private /16, the least used in practice first (home routers and offices like the low ones).

    The seed shifts the order among the best, so that installations that can't see each other rarely meet.
    """
    best = [200 + (seed + step) % 55 for step in range(55)]
    for second in (*best, *range(128, 200), *range(1, 128)):
        yield IPv4Network(f"10.{second}.0.0/16")
    for second in range(31, 15, -1):
        yield IPv4Network(f"172.{second}.0.0/16")
    yield IPv4Network("10.0.0.0/16")
    yield IPv4Network("192.168.0.0/16")


def build_candidates(taken: Collection[IPv4Network], seed: int) -> Iterator[IPv4Network]:
    """Every private /24 by the same order, passing over each /16 that is taken as a whole."""
    for pool in pool_candidates(seed):
        if not any(pool.subnet_of(network) for network in taken):
            yield from reversed(list(pool.subnets(new_prefix=BUILD_PREFIX)))


def first_free(candidates: Iterable[IPv4Network], taken: Collection[IPv4Network]) -> IPv4Network:
    """The first candidate that overlaps nothing that is taken. Errors: `AddressesExhausted`."""
    for candidate in candidates:
        if not any(candidate.overlaps(network) for network in taken):
            return candidate
    raise AddressesExhausted("Every private network overlaps one that this machine uses.")


def plan_networks(taken: Collection[IPv4Network], seed: int) -> tuple[IPv4Network, IPv4Network]:
    """(pool of the environments, network of the builds), apart from each other and from all that is taken."""
    pool = first_free(pool_candidates(seed), taken)
    return pool, first_free(build_candidates([*taken, pool], seed), [*taken, pool])


def interface_prefix(installation: str) -> str:
    """First letters of our bridges' names: 6, for a name of an interface ends at 15."""
    return f"t{installation[:5]}"


def bridge_of_builds(prefix: str) -> str:
    return f"{prefix}b0"
