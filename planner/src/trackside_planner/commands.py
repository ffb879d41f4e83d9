"""How a command a person wrote becomes the process of a container.

The app itself must be process 1, so that it gets SIGTERM: a plain command is started without a shell; one that needs a
shell (`$PORT`, `a && b`) is started by `sh -c` with `exec` before its last part.
"""

import re
import shlex
from collections.abc import Iterator

_NEEDS_SHELL = re.compile(r"[$`|&;<>()*?\[\]{}~#\n\\]")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_KEYWORDS = frozenset(
    {"if", "for", "while", "until", "case", "{", "(", "!", "cd", "export", "exec", ".", "set", "trap", "eval", "exit"}
)
_TOKEN = re.compile(
    r"""\\. | '[^']*' | "(?:\\.|[^"\\])*" | [<>]&\d? | (?P<operator>&&|\|\||[|;&()`\n]|<<)""",
    re.VERBOSE | re.DOTALL,
)


def process_arguments(command: str) -> tuple[str, ...]:
    """The argument vector that runs `command` with the app as process 1.

    Raises ValueError where its quotes do not match.
    """
    command = command.strip()
    words = shlex.split(command)
    if not words:
        raise ValueError("the command is empty")
    is_plain = not _NEEDS_SHELL.search(command) and not _ASSIGNMENT.match(words[0]) and words[0] not in _KEYWORDS
    if is_plain:
        return tuple(words)
    return ("/bin/sh", "-c", _with_exec(command))


def _with_exec(command: str) -> str:
    """Put `exec` before the last command of a chain of `&&`; anything more intricate stays as it was written."""
    operators = list(_operators(command))
    if any(operator != "&&" for _, operator in operators):
        return command
    start = operators[-1][0] + len("&&") if operators else 0
    last = command[start:].strip()
    if not last or last.split(maxsplit=1)[0] in _KEYWORDS:
        return command
    head = f"{command[:start]} " if start else ""
    return f"{head}{_exec_after_assignments(last)}"


def _operators(command: str) -> Iterator[tuple[int, str]]:
    """Where the shell sees an operator: outside of quotes, not escaped. Redirections are none."""
    for match in _TOKEN.finditer(command):
        if match["operator"]:
            yield match.start(), match["operator"]


def _exec_after_assignments(command: str) -> str:
    """`A=1 server` → `A=1 exec server`: the shell exports the assignment to what it becomes."""
    command = command.strip()
    position = 0
    while match := re.compile(r"[A-Za-z_][A-Za-z0-9_]*=(?:'[^']*'|\"[^\"]*\"|[^\s'\"])*\s+").match(command, position):
        position = match.end()
    return f"{command[:position]}exec {command[position:]}"
