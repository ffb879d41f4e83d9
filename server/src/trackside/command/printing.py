"""How the host's commands speak: announced steps, tables, JSON, and errors with the command that mends them."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, TextIO

from trackside.host.start import Announce, Progress
from trackside.kit.errors import TracksideError


def say(sentence: str = "") -> None:
    """A line for people."""
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:
    """One JSON document for programs."""
    say(json.dumps(value, indent=2))


def announcing(*, as_json: bool) -> Announce:
    """How steps are told: on stdout, or on stderr where stdout is for one JSON document."""
    return partial(_announce, sys.stderr if as_json else sys.stdout)


def _announce(stream: TextIO, progress: Progress) -> None:
    """A step that begins or has ended; on a terminal the end completes the line of the beginning."""
    head = f"[{progress.number}/{progress.total}] {progress.sentence}"
    if progress.seconds is None:
        stream.write(f"{head} …" if stream.isatty() else "")
    elif stream.isatty():
        stream.write(f"\r{head}   {progress.seconds:.1f} s\n")
    else:
        stream.write(f"{head}   {progress.seconds:.1f} s\n")
    stream.flush()


def table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def complain(error: TracksideError) -> None:
    """An error, with what mends it."""
    sys.stderr.write(f"error: {error.sentence}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
    sys.stderr.write(f"code: {error.code}\n")
