"""What git would ignore: `.gitignore` rules as git reads them (nested files, negations, `**`, classes). Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


@dataclass(frozen=True)
class Rule:
    """One line of an ignore file: which names (or paths below its directory) it means, and whether it ignores them."""

    expression: re.Pattern[str]
    ignores: bool
    is_for_directories: bool
    is_for_names: bool


@dataclass(frozen=True)
class Rules:
    """The rules of one ignore file. `base` is its directory, relative to the walk's root (`""` or `a/b/`)."""

    base: str
    rules: tuple[Rule, ...]

    def verdict(self, path: str, *, is_directory: bool) -> bool | None:
        """Whether it ignores the path below `base`; None where it says nothing. The last rule wins."""
        below = path[len(self.base) :]
        name = below.rpartition("/")[2]
        for rule in reversed(self.rules):
            if rule.is_for_directories and not is_directory:
                continue
            if rule.expression.fullmatch(name if rule.is_for_names else below):
                return rule.ignores
        return None


def is_ignored(path: str, stack: Sequence[Rules], *, is_directory: bool) -> bool:
    """Whether the path is ignored, by the ignore files from the root to its directory; the last is the strongest."""
    for rules in reversed(stack):
        if (verdict := rules.verdict(path, is_directory=is_directory)) is not None:
            return verdict
    return False


def parse(base: str, text: str) -> Rules:
    """The rules in the text of an ignore file."""
    lines = text.removeprefix("\ufeff").split("\n")
    return Rules(base, tuple(_rules(lines)))


def _rules(lines: Iterable[str]) -> Iterable[Rule]:
    for line in lines:
        pattern = _trimmed(line.removesuffix("\r"))
        if not pattern or pattern.startswith("#"):
            continue
        ignores = not pattern.startswith("!")
        pattern = pattern if ignores else pattern[1:]
        is_for_directories = pattern.endswith("/")
        pattern = pattern.removesuffix("/")
        is_for_names = "/" not in pattern
        if expression := _expression(pattern.removeprefix("/")):
            yield Rule(expression, ignores, is_for_directories, is_for_names)


def _trimmed(line: str) -> str:
    """Without trailing spaces, unless a backslash keeps one."""
    kept = 0
    index = 0
    while index < len(line):
        if line[index] == "\\":
            index += 2
            kept = index
        elif line[index] == " ":
            index += 1
        else:
            index += 1
            kept = index
    return line[:kept]


def _expression(pattern: str) -> re.Pattern[str] | None:
    """The pattern as a regular expression; None where git would never match it."""
    parts: list[str] = []
    index = 0
    while index < len(pattern):
        part, index = _part(pattern, index)
        if part is None:
            return None
        parts.append(part)
    try:
        return re.compile("".join(parts), re.DOTALL) if parts else None
    except re.error:
        return None  # such as a range that runs backwards


def _part(pattern: str, index: int) -> tuple[str | None, int]:
    """The expression of what stands at `index`, and where the next part begins."""
    letter = pattern[index]
    if letter == "*":
        return _stars(pattern, index)
    if letter == "?":
        return "[^/]", index + 1
    if letter == "[":
        return _set(pattern, index + 1)
    if letter == "\\":
        return (re.escape(pattern[index + 1]), index + 2) if index + 1 < len(pattern) else (None, index + 1)
    return re.escape(letter), index + 1


def _stars(pattern: str, index: int) -> tuple[str, int]:
    """`**` between slashes (or at an end) crosses directories; every other run of stars stays within a name."""
    end = index
    while end < len(pattern) and pattern[end] == "*":
        end += 1
    is_whole = end - index == 2 and (index == 0 or pattern[index - 1] == "/")
    if is_whole and pattern[end : end + 1] == "/":
        return "(?:.*/)?", end + 1
    if is_whole and end == len(pattern):
        return ".*", end
    return "[^/]*", end


def _set(pattern: str, index: int) -> tuple[str | None, int]:
    """The bracket expression whose `[` stands before `index`."""
    is_negated = pattern[index : index + 1] in ("!", "^")
    index += is_negated
    items: list[str] = []
    start = index
    while index < len(pattern) and (pattern[index] != "]" or index == start):
        item, index = _item(pattern, index)
        if item is None:
            return None, index
        items.append(item)
    if index >= len(pattern):
        return None, index  # never closed
    return f"(?!/)[{'^' if is_negated else ''}{''.join(items)}]", index + 1


def _item(pattern: str, index: int) -> tuple[str | None, int]:
    """One letter, range or class of a bracket expression."""
    if pattern.startswith("[:", index) and (end := pattern.find(":]", index)) > 0:
        return CLASSES.get(pattern[index + 2 : end]), end + 2
    first, index = _letter(pattern, index)
    if first is None or pattern[index : index + 1] != "-" or pattern[index + 1 : index + 2] in ("", "]"):
        return (re.escape(first) if first else None), index
    last, index = _letter(pattern, index + 1)
    return (f"{re.escape(first)}-{re.escape(last)}" if last else None), index


def _letter(pattern: str, index: int) -> tuple[str | None, int]:
    if pattern[index] == "\\":
        return (pattern[index + 1], index + 2) if index + 1 < len(pattern) else (None, index + 1)
    return pattern[index], index + 1
