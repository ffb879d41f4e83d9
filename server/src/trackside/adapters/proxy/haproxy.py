"""Port `Proxy` on HAProxy: its runtime API for every change, a reload of its master for more slots.

After a reload the former process still ends what it has begun: it is told of every change too, and its open requests
count.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from trackside.adapters.proxy import config
from trackside.adapters.proxy.files import ProxyFiles
from trackside.adapters.proxy.options import HAProxyOptions
from trackside.adapters.proxy.runtime import (
    MasterSocket,
    RuntimeSocket,
    SeenServer,
    parse_map,
    parse_open_requests,
    parse_servers,
)
from trackside.rooms.networking.errors import ProxyUnavailable
from trackside.rooms.networking.model import Backend, Route
from trackside.rooms.networking.ports import ProxySlot, ProxyState, Served

RELOAD_SECONDS = 30.0
READ_SERVERS = ("show servers state", "show stat -1 4 -1")
DONE = ("", "New server registered.", "Server deleted.")


class HAProxy:
    """The HAProxy of this machine."""

    def __init__(self, options: HAProxyOptions) -> None:
        self._options = options
        self._files = ProxyFiles(options)
        self._runtime = RuntimeSocket(options.runtime_socket)
        self._master = MasterSocket(options.master_socket)
        self._served: Served | None = None
        self._leaving: tuple[int, ...] = ()
        self._process: str | None = None

    # --- reading ---

    async def observe(self) -> ProxyState:
        maps = (f"show map {config.HOSTS}", f"show map {config.TARGETS}")
        commands = ["show info", *READ_SERVERS, *maps, "get var proc.open"]
        info, state, stat, hosts, targets, is_open = await self._runtime.run(commands)
        await self._find_leaving(info)
        return ProxyState(
            slots=_slots(parse_servers(state), await self._with_leaving(parse_open_requests(stat))),
            hosts={host: UUID(instance) for host, instance in parse_map(hosts).items()},
            targets={UUID(key): _target(value) for key, value in parse_map(targets).items()},
            is_open=not is_open.endswith("<0>"),
        )

    async def _find_leaving(self, info: str) -> None:
        """Look for former processes when there may be some: after a reload by us or by anybody, until they are gone."""
        process = next((line for line in info.splitlines() if line.startswith("Pid: ")), None)
        if self._leaving or process != self._process:
            self._leaving = (await self._master.processes()).leaving
            self._process = process

    async def _with_leaving(self, open_requests: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
        """Open requests, together with those of the processes that a reload has left finishing."""
        for process in self._leaving:
            with suppress(ProxyUnavailable):
                counts = parse_open_requests(await self._master.run(f"@!{process} {READ_SERVERS[1]}"))
                for key, count in counts.items():
                    open_requests[key] = open_requests.get(key, 0) + count
        return open_requests

    async def capacity(self) -> int:
        answer = (await self._runtime.run(["show backend"]))[0]
        return sum(config.slot_number(name.strip()) is not None for name in answer.splitlines())

    # --- changing ---

    async def persist(self, served: Served) -> None:
        self._served = served
        await self._write(self._files.slots())

    async def persisted(self) -> Served | None:
        return await asyncio.to_thread(self._files.served)

    async def _write(self, slots: int) -> None:
        if self._served is None:
            raise ProxyUnavailable("Nothing was persisted yet.")
        try:
            await asyncio.to_thread(self._files.write, self._served, slots)
        except OSError as error:
            raise ProxyUnavailable(f"HAProxy's files can't be written: {error}.") from error

    async def put_backend(self, backend: Backend, ready: frozenset[UUID]) -> None:
        slot = config.slot_name(backend.slot)
        seen = {server.name: server for server in await self._servers_of(slot)}
        wanted = {entry.name: entry for entry in (config.entry(s, backend.protocol) for s in backend.servers)}
        opened = {str(s.replica_id) for s in backend.servers if s.replica_id in ready and not s.is_leaving}
        commands = await self._map_changes(config.DEPLOYMENTS, config.deployments_map([backend]), remove=False)
        for name, entry in wanted.items():
            commands += _placed(slot, entry, seen.get(name))
        taking = {server.name for server in seen.values() if not server.is_closed}
        # HAProxy's own checks may have failed while the app was starting or unwell. The prober has asked it since.
        commands += [f"set server {slot}/{name} health up" for name in sorted(opened - taking)]
        # Those that open come first: the slot is never without a server that takes requests in between.
        commands += [f"set server {slot}/{name} state ready" for name in sorted(opened)]
        commands += [f"set server {slot}/{name} state drain" for name in sorted(taking - opened)]
        await self._apply(commands)
        await self._remove(slot, sorted(seen.keys() - wanted.keys()))

    async def _remove(self, slot: str, names: Sequence[str]) -> None:
        """Remove closed servers without open requests; the others stay."""
        if not names:
            return
        stat = (await self._runtime.run(READ_SERVERS[1:]))[0]
        open_requests = await self._with_leaving(parse_open_requests(stat))
        done = [name for name in names if not open_requests.get((slot, name))]
        await self._apply([f"set server {slot}/{name} state maint" for name in done])
        await self._delete(slot, done)

    async def clear_backend(self, slot: int) -> None:
        name = config.slot_name(slot)
        servers = [server.name for server in await self._servers_of(name)]
        for command in ("set server {} state maint", "shutdown sessions server {}"):
            await self._apply([command.format(f"{name}/{server}") for server in servers])
        await self._delete(name, servers)

    async def _delete(self, slot: str, names: Sequence[str]) -> None:
        """HAProxy closes idle connections in its own time and refuses until then: the next pass asks again."""
        for pause in (0.0, 0.005, 0.02, 0.1):
            if not names:
                return
            await asyncio.sleep(pause)
            answers = await self._broadcast([f"del server {slot}/{name}" for name in names])
            names = [name for name, answer in zip(names, answers, strict=True) if "deleted" not in answer]

    async def put_routes(self, routes: Sequence[Route]) -> None:
        hosts, targets = config.hosts_map(routes), config.targets_map(routes)
        new_targets = await self._map_changes(config.TARGETS, targets, remove=False)
        await self._apply(new_targets + await self._map_changes(config.HOSTS, hosts, remove=True))
        await self._apply(await self._map_changes(config.TARGETS, targets, remove=True))

    async def _map_changes(self, name: str, wanted: Mapping[str, str], *, remove: bool) -> list[str]:
        """The commands that make a map have these entries; with `remove`, no others."""
        present = parse_map((await self._runtime.run([f"show map {name}"]))[0])
        commands = [f"add map {name} {key} {value}" for key, value in wanted.items() if key not in present]
        commands += [
            f"set map {name} {key} {value}" for key, value in wanted.items() if present.get(key, value) != value
        ]
        if remove:
            commands += [f"del map {name} {key}" for key in present if key not in wanted]
        return commands

    async def open(self) -> None:
        try:
            await asyncio.to_thread(self._files.open)
        except OSError as error:
            raise ProxyUnavailable(f"HAProxy's directory can't be written: {error}.") from error
        await self._reload(self._files.slots())

    async def grow(self, slots: int) -> None:
        if await self.capacity() < slots:
            await self._reload(slots)

    async def _reload(self, slots: int) -> None:
        """Write what was persisted for so many slots, and have a new process serve it."""
        await self._write(slots)
        before = await self._master.processes()
        await self._master.run("reload")
        try:
            async with asyncio.timeout(RELOAD_SECONDS):
                while not await self._has_reloaded(before.serving, before.failed):
                    await asyncio.sleep(0.02)
        except TimeoutError as late:
            raise ProxyUnavailable(f"HAProxy has not reloaded within {RELOAD_SECONDS:.0f} s.") from late

    async def _has_reloaded(self, former: int | None, failures: int) -> bool:
        """Whether a new process answers on the runtime socket."""
        try:
            now = await self._master.processes()
            if now.failed > failures:
                raise ReloadRefused("HAProxy refused its new configuration; the former one goes on.")
            answer = (await self._runtime.run(["show info"]))[0]
        except ReloadRefused:
            raise
        except ProxyUnavailable:
            return False
        self._leaving = now.leaving
        return now.serving not in (None, former) and f"Pid: {now.serving}\n" in answer

    # --- both ---

    async def _servers_of(self, slot: str) -> list[SeenServer]:
        return parse_servers((await self._runtime.run([f"show servers state {slot}"]))[0])

    async def _apply(self, commands: Sequence[str]) -> None:
        """Run commands that must succeed."""
        for command, answer in zip(commands, await self._broadcast(commands), strict=True):
            if answer not in DONE and not answer.startswith(("no need to change", "IP changed", "port changed")):
                raise ProxyUnavailable(f"HAProxy refused {command.split(' ', 2)[:2]}: {answer}")

    async def _broadcast(self, commands: Sequence[str]) -> list[str]:
        """Run commands in the serving process, and as far as they go in former ones; the answers of the serving one."""
        if not commands:
            return []
        answers = await self._runtime.run(commands)
        for process in self._leaving:
            for command in commands:
                with suppress(ProxyUnavailable):
                    await self._master.run(f"@!{process} {command}")
        return answers


class ReloadRefused(ProxyUnavailable):
    code = "networking.reload_refused"
    hint = "This is a fault of Trackside's: HAProxy's log in the state directory names the line."


def _placed(slot: str, entry: config.Entry, seen: SeenServer | None) -> list[str]:
    """Commands that have the server in the slot, at its address; a new one takes no requests yet."""
    if seen is None:
        return [
            f"add server {slot}/{entry.name} {entry.address} {entry.settings}",
            f"enable health {slot}/{entry.name}",
        ]
    if seen.address != entry.address:
        address, _, port = entry.address.rpartition(":")
        return [f"set server {slot}/{entry.name} addr {address} port {port}"]
    return []


def _slots(servers: Iterable[SeenServer], open_requests: Mapping[tuple[str, str], int]) -> dict[int, ProxySlot]:
    by_slot: dict[int, list[SeenServer]] = {}
    for server in servers:
        number = config.slot_number(server.backend)
        if number is not None:
            by_slot.setdefault(number, []).append(server)
    return {
        number: ProxySlot(
            slot=number,
            servers={UUID(server.name): server.address for server in members},
            ready=frozenset(UUID(server.name) for server in members if not server.is_closed),
            open_requests={UUID(s.name): open_requests.get((s.backend, s.name), 0) for s in members},
        )
        for number, members in by_slot.items()
    }


def _target(backend: str) -> str:
    number = config.slot_number(backend)
    return f"page:{backend.removeprefix('page-')}" if number is None else f"slot:{number}"
