"""HAProxy's sockets: the runtime API of the serving process, and the master that knows the processes and reloads."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trackside.rooms.networking.errors import ProxyUnavailable

PROMPT = b"\n> "
BATCH = 100
"""Commands sent before their answers are read: they and their answers fit into the socket's buffers."""
MASTER_RESTART_SECONDS = 2.0
LARGEST_ANSWER = 64 << 20
ADMIN_CLOSED = 0x01 | 0x02 | 0x08 | 0x10 | 0x20
"""Flags of a server's administrative state that keep new requests away: maintenance or drain, for whatever reason.

Not 0x04: it says that the file once had the server closed, and stays when it was opened since.
"""


class RuntimeSocket:
    """The runtime API on its unix socket."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout

    async def run(self, commands: Sequence[str]) -> list[str]:
        """Run commands one after another on one connection; their answers. Errors: `ProxyUnavailable`."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._run(commands)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            raise ProxyUnavailable(f"HAProxy does not answer on its runtime socket: {error or 'no answer'}.") from error

    async def _run(self, commands: Sequence[str]) -> list[str]:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=LARGEST_ANSWER)
        try:
            writer.write(b"prompt\n")
            await reader.readuntil(PROMPT)
            answers: list[str] = []
            for start in range(0, len(commands), BATCH):
                batch = commands[start : start + BATCH]
                writer.write("".join(f"{command}\n" for command in batch).encode())
                answers += [await _answer(reader) for _ in batch]
            return answers
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(PROMPT))[: -len(PROMPT)].decode(errors="replace").strip("\n")


@dataclass(frozen=True)
class Processes:
    """What the master tells: the serving process, those that a reload left finishing, and how many reloads failed."""

    serving: int | None
    leaving: tuple[int, ...]
    failed: int


class MasterSocket:
    """The master's socket."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout

    async def run(self, command: str) -> str:
        """Run one command. Errors: `ProxyUnavailable`."""
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await self._connect()
                try:
                    writer.write(f"{command}\n".encode())
                    writer.write_eof()
                    return (await reader.read(-1)).decode(errors="replace")
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise ProxyUnavailable(f"HAProxy's master does not answer: {error or 'no answer'}.") from error

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The master executes itself anew after each start and reload; nobody listens on its socket meanwhile."""
        until = asyncio.get_running_loop().time() + MASTER_RESTART_SECONDS
        while True:
            try:
                return await asyncio.open_unix_connection(self._path, limit=LARGEST_ANSWER)
            except (ConnectionRefusedError, FileNotFoundError):
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(0.02)

    async def processes(self) -> Processes:
        """Errors: `ProxyUnavailable`."""
        return parse_processes(await self.run("show proc"))


def parse_processes(text: str) -> Processes:
    """The answer to `show proc`."""
    section, serving, failed = "", None, 0
    leaving: list[int] = []
    for line in text.splitlines():
        if line.startswith("# "):
            section = line[2:].strip()
        elif match := re.match(r"(\d+)\s+(master|worker)\s", line):
            pid = int(match[1])
            if match[2] == "master":
                failed = int((re.search(r"failed:\s*(\d+)", line) or ["", "0"])[1])
            elif section == "workers":
                serving = pid
            elif section == "old workers":
                leaving.append(pid)
    return Processes(serving, tuple(leaving), failed)


@dataclass(frozen=True)
class SeenServer:
    """A server as HAProxy holds it."""

    backend: str
    name: str
    address: str  # address:port
    is_closed: bool


def parse_servers(text: str) -> list[SeenServer]:
    """The answer to `show servers state`."""
    seen: list[SeenServer] = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 18 and fields[0].isdigit():
            closed = bool(int(fields[6]) & ADMIN_CLOSED)
            seen.append(SeenServer(fields[1], fields[3], f"{fields[4]}:{fields[18]}", closed))
    return seen


def parse_open_requests(text: str) -> dict[tuple[str, str], int]:
    """(backend, server) → open requests, from the answer to `show stat`."""
    counts: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        fields = line.split(",", 5)
        if len(fields) == 6 and fields[4].isdigit():
            counts[fields[0], fields[1]] = int(fields[4])
    return counts


def parse_map(text: str) -> dict[str, str]:
    """Key → value, from the answer to `show map`."""
    entries = (line.split(" ", 2) for line in text.splitlines() if line.startswith("0x"))
    return {fields[1]: fields[2] for fields in entries if len(fields) == 3}
