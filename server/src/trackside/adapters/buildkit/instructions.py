"""Reading a Dockerfile into its instructions, keeping every character: what is not understood is passed on untouched. Pure."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1")
_DIRECTIVE = re.compile(r"^#\s*([A-Za-z]+)\s*=\s*(.+?)\s*$")
_WORD = re.compile(r"^\s*([A-Za-z]+)(\s|$)")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::([-+])([^}]*))?\}|([A-Za-z_]\w*))")


@dataclass(frozen=True)
class Instruction:
    """`keyword` in capitals ("" for comments and blank lines); `text` is the whole instruction as written, newlines included.

    `heredocs` are the here-documents that follow it, as written.
    """

    keyword: str
    text: str
    heredocs: str = ""
    escape: str = "\\"

    @property
    def arguments(self) -> str:
        """What follows the keyword, on one line, as the builder reads it: continuations joined, comment lines left out."""
        lines = [line for line in self.text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        joined = "".join(re.sub(rf"{re.escape(self.escape)}[ \t]*$", "", line) for line in lines)
        return joined.strip()[len(self.keyword) :].strip()


def read_instructions(dockerfile: str) -> list[Instruction]:
    """The instructions in order; joined together their texts are the Dockerfile again."""
    lines = dockerfile.splitlines(keepends=True)
    escape = _directives(lines).get("escape", "\\")
    found: list[Instruction] = []
    at = 0
    while at < len(lines):
        end = _end_of_instruction(lines, at, escape)
        text = "".join(lines[at:end])
        match = _WORD.match(text)
        keyword = match[1].upper() if match and not text.lstrip().startswith("#") else ""
        after = _end_of_heredocs(lines, end, text) if keyword in ("RUN", "COPY", "ADD") else end
        found.append(Instruction(keyword, text, "".join(lines[end:after]), escape))
        at = after
    return found


def _directives(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        match = _DIRECTIVE.match(line.strip())
        if match is None:
            break
        found[match[1].lower()] = match[2]
    return found


def _end_of_instruction(lines: list[str], at: int, escape: str) -> int:
    first = lines[at].strip()
    if not first or first.startswith("#"):
        return at + 1
    while at < len(lines):
        line = lines[at].strip()
        is_between = not line or line.startswith("#")
        if not is_between and not line.endswith(escape):
            return at + 1
        at += 1
    return at


def _end_of_heredocs(lines: list[str], at: int, text: str) -> int:
    for match in _HEREDOC.finditer(text):
        end = next((i for i in range(at, len(lines)) if lines[i].strip() == match[2]), None)
        if end is None:
            return at
        at = end + 1
    return at


@dataclass(frozen=True)
class ParsedFrom:
    """A FROM: the image (variables put in) and the stage's name."""

    image: str
    name: str | None


def external_images(dockerfile: str, arguments: Mapping[str, str], target: str | None = None) -> list[str]:
    """Images a Dockerfile starts from or copies from, in order, without its own stages and `scratch`.

    With a target, stages after it are not looked at.
    """
    images: list[str] = []
    stages: set[str] = {"scratch"}
    count = 0
    for seen in _stages_and_copies(dockerfile, arguments):
        if isinstance(seen, ParsedFrom):
            if target is not None and target.lower() in stages:
                break
            _add(images, seen.image, stages)
            if seen.name:
                stages.add(seen.name.lower())
            stages.add(str(count))
            count += 1
        else:
            _add(images, seen, stages)
    return images


def _add(images: list[str], image: str, stages: set[str]) -> None:
    if image and image.lower() not in stages and image not in images:
        images.append(image)


def _stages_and_copies(dockerfile: str, arguments: Mapping[str, str]) -> Iterator[ParsedFrom | str]:
    values: dict[str, str] = {}
    has_begun = False
    for instruction in read_instructions(dockerfile):
        if instruction.keyword == "ARG" and not has_begun:
            for name, default in _argument_defaults(instruction.arguments):
                values[name] = arguments.get(name, expand(default or "", values))
        elif instruction.keyword == "FROM":
            has_begun = True
            yield parse_from(instruction, values)
        elif instruction.keyword in ("COPY", "RUN"):
            yield from _sources_of_flags(split_flags(instruction.arguments, instruction.escape)[0])


def split_flags(arguments: str, escape: str = "\\") -> tuple[list[str], str]:
    """The leading `--name=value` words, quotes and escapes undone as the builder undoes them, and the rest."""
    words: list[str] = []
    at = 0
    while arguments.startswith("--", at):
        word, at = _read_word(arguments, at, escape)
        words.append(word)
        while at < len(arguments) and arguments[at].isspace():
            at += 1
    return words, arguments[at:]


def _read_word(text: str, at: int, escape: str) -> tuple[str, int]:
    word, quote = "", ""
    while at < len(text) and (quote or not text[at].isspace()):
        character = text[at]
        if character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif character == escape and at + 1 < len(text):
            at += 1
            word += text[at]
        else:
            word += character
        at += 1
    return word, at


def write_flag(word: str, escape: str = "\\") -> str:
    """The opposite of reading one: whatever has a meaning gets the escape character before it."""
    return "".join(f"{escape}{c}" if c.isspace() or c in "\"'" or c == escape else c for c in word)


def mount_fields(flag: str) -> list[str] | None:
    """`--mount=type=cache,target=/x` → its fields; None for another flag."""
    if not flag.startswith("--mount="):
        return None
    return next(csv.reader([flag.removeprefix("--mount=")]), list[str]())


def _sources_of_flags(flags: list[str]) -> Iterator[str]:
    """Stages and images that `--from=` and mounts name."""
    for flag in flags:
        if flag.startswith("--from="):
            yield flag.removeprefix("--from=")
        for field in mount_fields(flag) or ():
            name, _, value = field.partition("=")
            if name.lower() == "from":
                yield value


def parse_from(instruction: Instruction, values: Mapping[str, str]) -> ParsedFrom:
    words = [word for word in instruction.arguments.split() if not word.startswith("--")]
    image = expand(words[0], values) if words else ""
    name = words[2] if len(words) >= 3 and words[1].upper() == "AS" else None
    return ParsedFrom(image, name)


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}`, as the builder does in FROM."""

    def replaced(match: re.Match[str]) -> str:
        value = values.get(match[1] or match[4], "")
        if match[2] == "-":
            return value or match[3]
        if match[2] == "+":
            return match[3] if value else ""
        return value

    return _VARIABLE.sub(replaced, text).strip("\"'")


def declared_arguments(dockerfile: str) -> frozenset[str]:
    """Names that ARG declares anywhere."""
    instructions = (i for i in read_instructions(dockerfile) if i.keyword == "ARG")
    return frozenset(name for i in instructions for name, _ in _argument_defaults(i.arguments))


def _argument_defaults(arguments: str) -> list[tuple[str, str | None]]:
    found = re.findall(r"([A-Za-z_]\w*)(?:=(\"[^\"]*\"|'[^']*'|\S*))?", arguments)
    return [(name, default.strip("\"'") or None) for name, default in cast("list[tuple[str, str]]", found)]


def exec_form(body: str) -> list[str] | None:
    """The argument vector of `["program", "argument"]`, or None where the body is a shell command."""
    if not body.lstrip().startswith("["):
        return None
    try:
        words: object = json.loads(re.sub(r"\\\s*\n", "", body))
    except json.JSONDecodeError:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in cast("list[object]", words)):
        return None
    return cast("list[str]", words)
