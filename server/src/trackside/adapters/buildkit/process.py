"""Running a program for a build: by argument vector, its lines handed on as they come, ended with whoever started it."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from trackside.rooms.builds.ports import BuildLog

END_SECONDS = 10.0
"""Time a program has after SIGTERM before it is killed."""
LONGEST_LINE = 16 << 10


@asynccontextmanager
async def running(
    command: Sequence[str], environment: Mapping[str, str], directory: str | None = None
) -> AsyncGenerator[Process]:
    """The program, started in a session of its own; when the block is left, however it is left, the program has ended.

    The kernel kills it when the builder process dies, so that a build never outlives its builder.
    """
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/setpriv",
        "--pdeathsig",
        "KILL",
        "--",
        *command,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await asyncio.shield(_end(process))


async def run(
    command: Sequence[str], environment: Mapping[str, str], log: BuildLog, directory: str | None = None
) -> int:
    """Run to the end, logging every line; the exit code."""
    async with running(command, environment, directory) as process:
        assert process.stdout is not None
        async for line in lines(process.stdout):
            await log(line)
        return await process.wait()


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines without their ends; a carriage return starts the line afresh, as on a screen; endless ones are cut in parts."""
    rest = b""
    while chunk := await stream.read(1 << 16):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _text(line)
        while len(rest) > LONGEST_LINE:
            yield _text(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(END_SECONDS):
            await _drain(process)
    except TimeoutError:
        # The whole session: what a program started holds its pipe open, and may go on for ever.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await _drain(process)


async def _drain(process: Process) -> None:
    """Read what is left, so that a full pipe can't keep the program from ending."""
    assert process.stdout is not None
    while await process.stdout.read(1 << 16):
        pass
    await process.wait()
