"""One installation: made at the first start, read at every later one.

The first start chooses an id, ports, private networks that overlap nothing of this machine, and random keys and passwords;
nothing is ever a default secret. What the server reads goes into `settings.json` under the names of its settings; what the
machine's other installations must know is recorded where they look.
"""

import asyncio
import base64
import fcntl
import json
import secrets
from collections.abc import AsyncGenerator, Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from pathlib import Path
from typing import Any

from trackside.host.address_plan import interface_prefix, plan_networks
from trackside.host.commands import run
from trackside.host.errors import NetworksFixed, RightsMissing, StartInProgress, StateDamaged
from trackside.host.files import make_directory, read_json, write_json, write_text
from trackside.host.layout import REGISTER, Layout, system_layout

DEFAULT_API_PORT = 7700
DEFAULT_EDGE_PORT = 7780
UNMADE = "00000000"
"""Stands for the id of an installation that was not made yet."""
TURN_SECONDS = 30
"""Another installation's start chooses its ports and networks well within them."""
ADOPTED = "adopted"
DATABASE = "trackside"
OWNER_ROLE = "trackside_owner"
APP_ROLE = "trackside_app"
SUPERUSER_ROLE = "trackside_superuser"


@dataclass(frozen=True)
class Installation:
    """What the first start decided, with the changes made since by `TRACKSIDE_…` variables."""

    id: str
    api_port: int
    edge_port: int
    network_pool: IPv4Network
    build_network: IPv4Network
    interface_prefix: str

    def record(self) -> dict[str, Any]:
        """As stored, under the names of the server's settings."""
        return {
            "installation": self.id,
            "api_port": self.api_port,
            "edge_port": self.edge_port,
            "network_pool": str(self.network_pool),
            "build_network": str(self.build_network),
            "interface_prefix": self.interface_prefix,
        }


def read_installation(home: Path) -> Installation | None:
    """The installation of this state directory, or None before its first start. Errors: `StateDamaged`."""
    stored = read_json(home / "settings.json")
    if stored is None or "installation" not in stored:
        return None
    try:
        return Installation(
            id=str(stored["installation"]),
            api_port=int(stored["api_port"]),
            edge_port=int(stored["edge_port"]),
            network_pool=IPv4Network(stored["network_pool"]),
            build_network=IPv4Network(stored["build_network"]),
            interface_prefix=str(stored["interface_prefix"]),
        )
    except (KeyError, ValueError) as damage:
        raise StateDamaged(f"{home / 'settings.json'} is damaged: {damage!r}.") from damage


def unmade_installation(environment: Mapping[str, str], register: Path = REGISTER) -> Installation:
    """What a first start would make, for looking around before it: only the ports are chosen, and nothing is written."""
    api_port, edge_port = _fresh_ports(environment, list(_others(register, "")))
    nowhere = IPv4Network("0.0.0.0/32")
    return Installation(UNMADE, api_port, edge_port, nowhere, nowhere, interface_prefix(UNMADE))


async def open_installation(home: Path, environment: Mapping[str, str], register: Path = REGISTER) -> Installation:
    """Read this state directory's installation, or make it; then apply what `TRACKSIDE_…` variables change.

    Errors: `RightsMissing`, `StateDamaged`, `NetworksFixed`, `AddressesExhausted`, `StartInProgress`.
    """
    try:
        make_directory(home, 0o711)
        register.mkdir(parents=True, exist_ok=True)
    except PermissionError as refused:
        raise RightsMissing(f"This user may not write to {refused.filename}.") from refused
    async with _in_turn(register / "register.lock"):
        present = read_installation(home)
        others = list(_others(register, present.id if present else ""))
        chosen = _changed(present, environment) if present else await _fresh(environment, others)
        layout = layout_of(chosen, home, register)
        make_keys(layout)
        save_settings(layout, chosen.record() | _derived(layout))
        write_json(layout.record_file, {**chosen.record(), "home": str(home)})
    return chosen


def layout_of(installation: Installation, home: Path, register: Path = REGISTER) -> Layout:
    """The installation's directories."""
    if register == REGISTER:
        return system_layout(installation.id, home)
    return Layout(
        installation=installation.id,
        home=home,
        data=register / installation.id,
        run=register / installation.id / "run",
        register=register,
    )


def save_settings(layout: Layout, changes: Mapping[str, object]) -> None:
    """Set some of the stored settings; those set by hand stay. Writes only when something changes."""
    stored = read_json(layout.settings_file) or {}
    if stored | dict(changes) != stored:
        write_json(layout.settings_file, stored | dict(changes), 0o600)


def adopt_settings(layout: Layout, found: Mapping[str, str]) -> None:
    """Set what the machine's own variables tell, where nobody has set it by hand.

    `adopted` in the stored settings tells which values are theirs: those follow the variables at later starts.
    """
    stored = read_json(layout.settings_file) or {}
    before: dict[str, Any] = stored.get(ADOPTED) or {}
    free = [name for name in found if name not in stored or stored[name] == before.get(name)]
    changes = {name: found[name] for name in free}
    if changes:
        save_settings(layout, {**changes, ADOPTED: before | changes})


def make_keys(layout: Layout) -> None:
    """Have the keyring and the database's passwords: random, made once, readable by the owner only."""
    make_directory(layout.keys, 0o700)
    keyring = layout.keys / "keyring.json"
    if not keyring.exists():
        name = secrets.token_hex(4)
        write_json(
            keyring, {"current": name, "keys": {name: base64.b64encode(secrets.token_bytes(32)).decode()}}, 0o600
        )
    passwords = layout.keys / "database.json"
    if not passwords.exists():
        roles = (SUPERUSER_ROLE, OWNER_ROLE, APP_ROLE)
        write_json(passwords, {role: secrets.token_urlsafe(32) for role in roles}, 0o600)
    stored = read_json(passwords) or {}
    lines = "".join(f"*:*:*:{role}:{password}\n" for role, password in sorted(stored.items()))
    if _text_of(layout.keys / "pgpass") != lines:
        write_text(layout.keys / "pgpass", lines, 0o600)


def database_url(layout: Layout, role: str, database: str = DATABASE) -> str:
    """How a role reaches the embedded PostgreSQL; the password stays in the key directory."""
    return f"postgresql://{role}@/{database}?host={layout.postgres_run}&passfile={layout.keys / 'pgpass'}"


@contextmanager
def exclusively(path: Path) -> Generator[None]:
    """Hold a lock that ends with this process. Errors: `StartInProgress` where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise StartInProgress(f"Another start or stop is under way (it holds {path}).") from held
        yield


@asynccontextmanager
async def _in_turn(path: Path, seconds: float = TURN_SECONDS) -> AsyncGenerator[None]:
    """The same, after those who hold it only for a moment. Errors: `StartInProgress` where it is still held after so long."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(exclusively(path))
                break
            except StartInProgress:
                if clock() > deadline:
                    raise
            await asyncio.sleep(0.05)
        yield


def _text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _derived(layout: Layout) -> dict[str, str]:
    return {
        "database_url": database_url(layout, APP_ROLE),
        "database_owner_url": database_url(layout, OWNER_ROLE),
        "build_engine_url": f"unix://{layout.build_engine_socket}",
        "build_cgroup": layout.build_steps_group,
    }


def _others(register: Path, own_id: str) -> Iterator[dict[str, Any]]:
    """What the machine's other installations have recorded; one whose state directory is gone counts no more."""
    for file in sorted(register.glob("*/installation.json")):
        stored = read_json(file)
        if stored and stored["installation"] != own_id and Path(stored["home"], "settings.json").exists():
            yield stored


async def _fresh(environment: Mapping[str, str], others: Collection[Mapping[str, Any]]) -> Installation:
    identity = secrets.token_hex(4)
    taken = await networks_in_use()
    for other in others:
        taken += [IPv4Network(other["network_pool"]), IPv4Network(other["build_network"])]
    pool, builds = plan_networks(taken, seed=int(identity, 16))
    pool = _network(environment, "TRACKSIDE_NETWORK_POOL") or pool
    builds = _network(environment, "TRACKSIDE_BUILD_NETWORK") or builds
    api_port, edge_port = _fresh_ports(environment, others)
    return Installation(
        id=identity,
        api_port=api_port,
        edge_port=edge_port,
        network_pool=pool,
        build_network=builds,
        interface_prefix=interface_prefix(identity),
    )


def _fresh_ports(environment: Mapping[str, str], others: Collection[Mapping[str, Any]]) -> tuple[int, int]:
    """The API's and the edge's."""
    ports = {int(other[name]) for other in others for name in ("api_port", "edge_port")}
    api_port = _port(environment, "TRACKSIDE_API_PORT") or _first_unused(DEFAULT_API_PORT, ports)
    edge_port = _port(environment, "TRACKSIDE_EDGE_PORT") or _first_unused(DEFAULT_EDGE_PORT, {*ports, api_port})
    return api_port, edge_port


def _changed(present: Installation, environment: Mapping[str, str]) -> Installation:
    """Ports may change at any start; networks may not, for containers stand in them. Errors: `NetworksFixed`, `StateDamaged`."""
    for name, network in (
        ("TRACKSIDE_NETWORK_POOL", present.network_pool),
        ("TRACKSIDE_BUILD_NETWORK", present.build_network),
    ):
        if (_network(environment, name) or network) != network:
            raise NetworksFixed(
                f"{name} is {environment[name]}, and this installation has had {network} since its first start."
            )
    return Installation(
        id=present.id,
        api_port=_port(environment, "TRACKSIDE_API_PORT") or present.api_port,
        edge_port=_port(environment, "TRACKSIDE_EDGE_PORT") or present.edge_port,
        network_pool=present.network_pool,
        build_network=present.build_network,
        interface_prefix=present.interface_prefix,
    )


def _first_unused(port: int, used: Collection[int]) -> int:
    while port in used:
        port += 1
    return port


def _port(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    if not text:
        return None
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise StateDamaged(f"{name} is `{text}`, which is no port.", hint=f"Give a number from 1 to 65535: {name}=7781")
    return int(text)


def _network(environment: Mapping[str, str], name: str) -> IPv4Network | None:
    text = environment.get(name, "")
    try:
        return IPv4Network(text) if text else None
    except (AddressValueError, NetmaskValueError, ValueError) as wrong:
        raise StateDamaged(f"{name} is no network: {wrong}.", hint=f"Write it as in {name}=10.77.0.0/16") from wrong


async def networks_in_use(resolver_file: Path = Path("/etc/resolv.conf")) -> list[IPv4Network]:
    """Every network this machine has an address in, a route to, or asks for names."""
    found: list[IPv4Network] = []
    for interface in json.loads(await run("ip", "-json", "-4", "address", "show") or "[]"):
        found += [
            IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)
            for address in interface.get("addr_info", [])
        ]
    for route in json.loads(await run("ip", "-json", "-4", "route", "show", "table", "all") or "[]"):
        if route["dst"] != "default":
            found.append(IPv4Network(route["dst"], strict=False))
    return found + [IPv4Network(server) for server in nameservers(_text_of(resolver_file) or "")]


def nameservers(text: str) -> list[IPv4Address]:
    """The IPv4 servers in a resolver file."""
    found: list[IPv4Address] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and ":" not in words[1]:
            found.append(IPv4Address(words[1]))
    return found
