"""Files of variables (`.env`): read strictly, and written so that what is read again is the same, byte for byte.

    NAME=plain            to the end of the line; blanks around it and ` # a comment` are not part of it
    NAME='as it is'       everything up to the next single quote, over lines too; no escapes
    NAME="with escapes"   \\n \\r \\t \\\\ \\" \\' \\$ \\` mean what they say; over lines too; other backslashes stay
    export NAME=…         the same

`$` is a letter like any other: nothing is put in its place. CRLF counts as a line's end, a byte order mark as nothing. A line
that is none of these, and a name that comes twice, is refused with its number; then nothing is read at all. Shells and
the usual libraries read what is written here alike.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trackside_cli.errors import CommandError, ExitCode

START = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[^\s=#'\"]+)[ \t]*(?P<equals>=)?[ \t]*")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
COMMENT = re.compile(r"(?<=[ \t])#.*")
BLANKS = " \t\r"
REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
SINGLE = re.compile(r"'([^']*)'")
DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
ESCAPE = re.compile(r"""\\([nrt\\"'$`])""")
MEANINGS = {"n": "\n", "r": "\r", "t": "\t"}
PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
MOST_TOLD = 10


class EnvFileRefused(CommandError):
    code = "cli.env_file"
    exit_code = ExitCode.USAGE


@dataclass
class _Reading:
    """How far the file has been read, and what was found."""

    text: str
    at: int = 0
    values: dict[str, str] = field(default_factory=dict[str, str])
    lines: dict[str, int] = field(default_factory=dict[str, int])
    faults: list[str] = field(default_factory=list[str])

    @property
    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def rest_of_line(self) -> str:
        return self.text[self.at : self._end()]

    def next_line(self) -> None:
        self.at = self._end() + 1

    def _end(self) -> int:
        end = self.text.find("\n", self.at)
        return end if end >= 0 else len(self.text)


def parse(content: bytes, source: str) -> dict[str, str]:
    """The variables of a file, in its order. Raises `EnvFileRefused`, naming every line that can't be read."""
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EnvFileRefused(f"{source}, line {line}: it is not UTF-8 text. Nothing was changed.") from None
    reading = _Reading(text)
    while reading.at < len(text):
        if reading.rest_of_line().strip(BLANKS)[:1] in ("", "#"):
            reading.next_line()
        else:
            _read_one(reading)
    if reading.faults:
        raise _refused(reading.faults, source)
    return reading.values


def _read_one(reading: _Reading) -> None:
    """One variable, or one fault."""
    line, start = reading.line, START.match(reading.text, reading.at)
    name = start["name"] if start else ""
    value, fault = None, _fault_of_name(name, has_value=bool(start and start["equals"]))
    if start is None or fault:
        reading.next_line()
    else:
        reading.at = start.end()
        value, fault = _read_value(reading)
    if name in reading.values:
        fault = f"{name} is there already, in line {reading.lines[name]}"
    if value is None or fault:
        reading.faults.append(f"line {line}: {fault}")
    else:
        reading.values[name], reading.lines[name] = value, line


def _fault_of_name(name: str, *, has_value: bool) -> str:
    """What is wrong before the value. Shows nothing of the line: it may be a piece of a secret that lost its quotes."""
    if not has_value:
        return "it has no value: write NAME=, with nothing after it" if NAME.fullmatch(name) else "it is not NAME=VALUE"
    if not NAME.fullmatch(name):
        return "what stands before the = is no name: letters, digits and _ only, no digit first"
    return ""


def _read_value(reading: _Reading) -> tuple[str | None, str]:
    """The value from here on, and past its line; else what is wrong with it."""
    quote = reading.text[reading.at : reading.at + 1]
    if quote not in ("'", '"'):
        # With the letter before it: what follows a blank may be a comment, what follows the `=` is not.
        value = COMMENT.sub("", reading.text[reading.at - 1] + reading.rest_of_line())[1:].strip(BLANKS)
        reading.next_line()
        return _checked(value)
    found = (SINGLE if quote == "'" else DOUBLE).match(reading.text, reading.at)
    if found is None:
        reading.at = len(reading.text)  # nobody can tell where it was meant to end
        return None, "its quote is not closed"
    rest = REST.match(reading.text, found.end())
    reading.at = rest.end() if rest else found.end()
    if rest is None:
        reading.next_line()
        return None, "something follows its closing quote"
    return _checked(found[1] if quote == "'" else ESCAPE.sub(lambda one: MEANINGS.get(one[1], one[1]), found[1]))


def _checked(value: str) -> tuple[str | None, str]:
    return (None, "it has a NUL character, which no process can be given") if "\0" in value else (value, "")


def _refused(faults: Sequence[str], source: str) -> EnvFileRefused:
    more = f"; and {len(faults) - MOST_TOLD} more" if len(faults) > MOST_TOLD else ""
    return EnvFileRefused(
        f"{source}, {'; '.join(faults[:MOST_TOLD])}{more}. Nothing was changed.",
        hint="Write NAME=VALUE on each line; quote values with blanks, # or several lines.",
    )


def write(variables: Mapping[str, str]) -> str:
    """The file that `parse` reads as these variables."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in variables.items())


def _quoted(value: str) -> str:
    """Plain where nothing in it means anything, else in single quotes, else in double ones."""
    if PLAIN.fullmatch(value):
        return value
    if not any(letter in value for letter in "'\\\r"):
        return f"'{value}'"
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value).replace("\r", "\\r") + '"'
