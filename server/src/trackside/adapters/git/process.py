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
    """Run to the end. When the caller is cancelled, git and what it started are killed.

    Errors: `SourceUnreachable` where the output is more than is kept: half an answer would be taken for a whole one.
    """
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
        (output, is_cut), (complaint, _), _ = await asyncio.gather(
            _read(process.stdout, _MOST_OUTPUT), _read(process.stderr, _MOST_COMPLAINT), _give(process, given)
        )
        code = await process.wait()
    finally:
        if process.returncode is None:
            # The whole session: git's own helpers (remote-https, ssh, index-pack) would go on otherwise.
            os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    if is_cut:
        raise SourceUnreachable(
            f"The repository can't be read: git says more than {_MOST_OUTPUT >> 20} MiB of it.",
            hint="Keep fewer files, branches and tags in the repository, or upload the directory: `trackside up`.",
        )
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


async def _read(stream: asyncio.StreamReader, most: int) -> tuple[bytes, bool]:
    """At most so much, and whether that was not all; the rest is read and dropped, so that a full pipe does not stop the program."""
    kept, is_cut = bytearray(), False
    while chunk := await stream.read(1 << 16):
        spare = most - len(kept)
        is_cut = is_cut or len(chunk) > spare
        kept += chunk[:spare]
    return bytes(kept), is_cut


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
