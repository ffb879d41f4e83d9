"""How a command a person wrote becomes the process of a container.

The app itself must be process 1, so that it gets SIGTERM: a plain command is started without a shell; one that needs a
shell (`$PORT`, `a && b`) is started by `sh -c` with `exec` before its last part.
"""

import re
import shlex

_NEEDS_SHELL = re.compile(r"[$`|&;<>()*?\[\]{}~#\n\\]")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_KEYWORDS = frozenset(
    {"if", "for", "while", "until", "case", "{", "(", "!", "cd", "export", "exec", ".", "set", "trap", "eval", "exit"}
)
_OPERATORS = frozenset({"&&", "||", "|", ";", "&", "(", ")", ";;", "|&", "<", ">", "\n"})


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
    if "\n" in command or "`" in command or "<<" in command:
        return command
    lexer = shlex.shlex(command, posix=False, punctuation_chars="&|;()<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    tokens = list(lexer)
    operators = [token for token in tokens if set(token) <= set("&|;()")]
    if any(token != "&&" for token in operators):
        return command
    head, separator, last = _split_last(command) if operators else ("", "", command)
    first_word = last.strip().split(maxsplit=1)[0]
    if first_word in _KEYWORDS:
        return command
    return f"{head}{separator}{_exec_after_assignments(last)}"


def _split_last(command: str) -> tuple[str, str, str]:
    head, _, last = command.rpartition("&&")
    return head, "&& ", last.strip()


def _exec_after_assignments(command: str) -> str:
    """`A=1 server` → `A=1 exec server`: the shell exports the assignment to what it becomes."""
    command = command.strip()
    position = 0
    while match := re.compile(r"[A-Za-z_][A-Za-z0-9_]*=(?:'[^']*'|\"[^\"]*\"|[^\s'\"])*\s+").match(command, position):
        position = match.end()
    return f"{command[:position]}exec {command[position:]}"
