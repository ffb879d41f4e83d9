"""Runs the machine's programs: argument vectors only, never a shell, always with an end in time."""

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trackside.host.errors import CommandFailed, ProgramMissing

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where system programs are looked for: a user's own PATH may lack `sbin` or lead to other versions."""
HELD_SECONDS = 2
"""How long the end of a program that was killed is waited for."""


@dataclass(frozen=True)
class Result:
    """How a program ended."""

    status: int
    output: str
    complaint: str


def find_program(name: str) -> Path:
    """The system's program of this name. Errors: `ProgramMissing`."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise ProgramMissing(f"The program `{name}` is not installed.")
    return Path(found)


async def attempt(
    *argv: str | Path, stdin: str | None = None, seconds: float = 60, environment: Mapping[str, str] | None = None
) -> Result:
    """Run a program to its end, whatever its exit status; killed after `seconds`. Errors: `ProgramMissing`, `CommandFailed`."""
    words = [str(word) for word in argv]
    program = words[0] if "/" in words[0] else str(find_program(words[0]))
    process = await asyncio.create_subprocess_exec(
        program,
        *words[1:],
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", **(environment or {})},
    )
    try:
        async with asyncio.timeout(seconds):
            output, complaint = await process.communicate(stdin.encode() if stdin is not None else None)
    except TimeoutError as late:
        raise CommandFailed(f"`{Path(program).name}` did not end within {seconds:.0f} s.") from late
    finally:
        if process.returncode is None:
            process.kill()
            with suppress(TimeoutError):  # the kernel keeps who waits for a disk that hangs
                await asyncio.wait_for(process.wait(), HELD_SECONDS)
    return Result(process.returncode or 0, output.decode(errors="replace"), complaint.decode(errors="replace"))


async def run(
    *argv: str | Path, stdin: str | None = None, seconds: float = 60, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program that must succeed; what it printed. Errors: `ProgramMissing`, `CommandFailed`."""
    result = await attempt(*argv, stdin=stdin, seconds=seconds, environment=environment)
    if result.status != 0:
        said = (result.complaint or result.output).strip().splitlines()
        raise CommandFailed(
            f"`{' '.join(str(word) for word in argv[:4])}` failed: {said[-1] if said else result.status}"
        )
    return result.output
