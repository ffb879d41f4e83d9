"""The only printer: answers to stdout, all that is said along the way to stderr; colours only on a terminal."""

import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from trackside_cli import moments
from trackside_cli.errors import ApiError, CommandError

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>]|[()][0-9A-Za-z])")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def prepare() -> None:
    """Let a terminal that can't show a letter show its code instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """The text in a style where the stream (stdout unless given) shows colours."""
    if not style or not has_colour(stream or sys.stdout):
        return text
    codes = ";".join(STYLES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


def harmless(text: str, stream: TextIO | None = None) -> str:
    """Text of others without control sequences; on a terminal its colours stay, and end with it."""
    if not (keeps := has_colour(stream or sys.stdout)):
        return CONTROL.sub("", ESCAPE.sub("", text))
    pieces = [CONTROL.sub("", ESCAPE.sub("", piece)) for piece in COLOUR.split(text)]
    colours = COLOUR.findall(text)
    whole = pieces[0] + "".join(colour + piece for colour, piece in zip(colours, pieces[1:], strict=True))
    return f"{whole}\x1b[0m" if colours and keeps else whole


# --- answers, on stdout ---


def say(text: str = "") -> None:
    print(text, flush=True)  # noqa: T201 — this is the printer


def is_terminal() -> bool:
    """Whether answers go to a person's terminal."""
    return sys.stdout.isatty()


def log_line(time: str, message: str, style: str) -> None:
    """One line of a log: when, and what."""
    text = harmless(message)
    say(f"{paint(time, 'dim')} {paint(text, style)}".rstrip())


def text_file(content: str) -> None:
    """A file as it is, every byte of it."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content.encode())
    sys.stdout.buffer.flush()


def as_json(value: Any) -> None:
    """One JSON document, indented: for programs, and readable."""
    print(json.dumps(value, indent=2, ensure_ascii=not _is_unicode()), flush=True)  # noqa: T201 — this is the printer


def as_json_line(value: Any) -> None:
    """One JSON document on one line."""
    print(json.dumps(value, ensure_ascii=not _is_unicode()), flush=True)  # noqa: T201 — this is the printer


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table for people; on a pipe plain columns that keep every letter. `empty` is said where there are no rows."""
    if not rows:
        note(empty)
    elif has_colour(sys.stdout):
        _rich_table(columns, rows)
    else:
        for line in plain_table(columns, rows):
            say(line)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart, nothing cut."""
    cells = [[name.upper() for name in columns], *([harmless(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # takes 100 ms: only where a table is drawn
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=False)
    if least_width(columns, rows) > console.width:
        _blocks(columns, rows)
        return
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        drawn.add_column(name.upper(), overflow="fold", no_wrap=name not in SENTENCES)
    for row in rows:
        drawn.add_row(*(Text.from_ansi(_status_painted(cell)) for cell in row))
    console.print(drawn)


def least_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How many letters a line must have for the table to be read: only sentences are broken, into pieces of some length."""
    widest = [max(len(harmless(row[index])) for row in [columns, *rows]) for index in range(len(columns))]
    needed = (min(width, PIECE) if name in SENTENCES else width for name, width in zip(columns, widest, strict=True))
    return sum(needed) + 2 * (len(columns) - 1)


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A row below the other, a line for each cell: for a terminal that is too narrow for columns."""
    longest = max(map(len, columns))
    for number, row in enumerate(rows):
        if number:
            say()
        for name, cell in zip(columns, row, strict=True):
            if cell:
                say(f"{paint(name.upper().ljust(longest), 'bold')}  {_status_painted(cell)}")


SENTENCES = frozenset({"reason", "source", "value"})  # cells of any length, read rather than copied
PIECE = 30
STATUS_STYLES = {"SUCCESS": "green", "FAILED": "red", "CRASHED": "red", "BUILDING": "yellow", "DEPLOYING": "yellow"}


def _status_painted(cell: str) -> str:
    return paint(harmless(cell), STATUS_STYLES.get(cell, ""))


def _is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


# --- said along the way, on stderr ---


def note(text: str, style: str = "") -> None:
    print(paint(text, style, sys.stderr), file=sys.stderr, flush=True)  # noqa: T201 — this is the printer


def problem(error: CommandError) -> None:
    """An error: the sentence, what mends it, its code."""
    note(f"{paint('error:', 'bold red', sys.stderr)} {harmless(error.sentence, sys.stderr)}")
    if error.hint:
        note(f"{paint('hint:', 'bold', sys.stderr)} {harmless(error.hint, sys.stderr)}")
    request = f" (request {error.request_id})" if isinstance(error, ApiError) and error.request_id else ""
    note(harmless(f"code: {error.code}{request}", sys.stderr), "dim")


def confirmed(question: str) -> bool | None:
    """A yes or no from the person at the terminal; None where nobody sits there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 — this is the printer
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def secret(question: str) -> str:
    """A secret typed at the terminal without echo, or the first line of a pipe."""
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(question, stream=sys.stderr).strip()
    return sys.stdin.readline().strip()


class Meter:
    """Progress of something whose size is known: a moving line on a terminal, nothing elsewhere or where `quiet`."""

    def __init__(self, label: str, total: int, *, quiet: bool, clock: Callable[[], float] = moments.monotonic) -> None:
        self._label = label
        self._total = max(total, 1)
        self._moves = not quiet and sys.stderr.isatty()
        self._clock = clock
        self._drawn_at = clock()  # what is done at once needs no meter

    def update(self, done: int) -> None:
        if not self._moves or self._clock() - self._drawn_at < 0.1:
            return
        self._drawn_at = self._clock()
        share = min(99, 100 * done // self._total)
        line = f"\r{self._label} {share:3d} %  {size(done)} of {size(self._total)}\x1b[K"
        print(line, end="", file=sys.stderr, flush=True)  # noqa: T201 — this is the printer

    def clear(self) -> None:
        """Take the moving line away."""
        if self._moves:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201 — this is the printer


def counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Bytes for people: `512 B`, `3.2 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
