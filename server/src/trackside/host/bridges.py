"""Network bridges of our own, by the `ip` program."""

import json
from ipaddress import IPv4Network
from pathlib import Path

from trackside.host.commands import attempt, run

LEAST_PREFIX = 6


def gateway_of(network: IPv4Network) -> str:
    """The first address of a network: the bridge's own, where our resolver answers."""
    return str(network.network_address + 1)


async def bridges_of(prefix: str) -> list[str]:
    """Names of the machine's bridges that begin with our prefix."""
    listed = json.loads(await run("ip", "-json", "link", "show", "type", "bridge") or "[]")
    return sorted(link["ifname"] for link in listed if link.get("ifname", "").startswith(prefix))


async def ensure_bridge(name: str, network: IPv4Network) -> None:
    """Have the bridge, up, with the first address of the network. Errors: `CommandFailed`."""
    if name not in await bridges_of(name):
        await run("ip", "link", "add", "name", name, "type", "bridge")
    address = f"{gateway_of(network)}/{network.prefixlen}"
    await run("ip", "address", "replace", address, "broadcast", "+", "dev", name)
    await run("ip", "link", "set", "dev", name, "up")


async def remove_bridges(prefix: str) -> None:
    """Remove every bridge of ours. Errors: ValueError for a prefix so short that others' bridges could carry it."""
    if len(prefix) < LEAST_PREFIX:
        raise ValueError(f"`{prefix}` is no prefix of ours")
    for name in await bridges_of(prefix):
        await attempt("ip", "link", "delete", "dev", name)


async def uplink_bridges() -> tuple[str, ...]:
    """Bridges by which the machine itself reaches the outside: its network cards are in them."""
    listed = json.loads(await run("ip", "-json", "route", "show", "default") or "[]")
    uplinks = {str(route["dev"]) for route in listed if "dev" in route}
    return tuple(sorted(uplinks.intersection(await bridges_of(""))))


def network_cards(root: Path = Path("/sys/class/net")) -> tuple[str, ...]:
    """The interfaces that lead out of the machine: those with a device behind them."""
    return tuple(sorted(link.name for link in root.iterdir() if (link / "device").exists()))
