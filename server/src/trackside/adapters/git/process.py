"""Running git: by argument vector, within a time, its output kept small, its tree of processes ended."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trackside.rooms.builds.errors import SourceUnreachable

_MOST_OUTPUT = 64 << 20
_MOST_COMPLAINT = 64 << 10


@dataclass(frozen=True)
class Finished:
    code: int
    output: bytes
    complaint: str


async def run_git(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, given: bytes | None = None
) -> Finished:
    """Run to the end. When the caller is cancelled, git and what it started are killed."""
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/setpriv",
        "--pdeathsig",
        "KILL",
        "--",
        *command,
        stdin=DEVNULL if given is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        output, complaint, _ = await asyncio.gather(
            _read(process.stdout, _MOST_OUTPUT), _read(process.stderr, _MOST_COMPLAINT), _give(process, given)
        )
        code = await process.wait()
    finally:
        if process.returncode is None:
            # The whole session: git's own helpers (remote-https, ssh, index-pack) would go on otherwise.
            os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    return Finished(code, output, complaint.decode("utf-8", "replace").strip())


async def _give(process: asyncio.subprocess.Process, given: bytes | None) -> None:
    if given is None or process.stdin is None:
        return
    try:
        process.stdin.write(given)
        await process.stdin.drain()
        process.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        return


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    """At most so much; the rest is read and dropped, so that a full pipe does not stop the program."""
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        if len(kept) < most:
            kept += chunk
    if len(kept) > most + (1 << 16):
        raise SourceUnreachable("The repository answers with more than can be taken in.")
    return bytes(kept)


def directory_bytes(directory: Path) -> int:
    """The size of everything below a directory; what vanishes meanwhile is not counted."""
    total = 0
    waiting = [str(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
