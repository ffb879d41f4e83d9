"""Reads the host's command lines; what it can't read is an error like any other."""

import sys
from argparse import ArgumentParser
from typing import NoReturn

from trackside.command.printing import complain
from trackside.kit.errors import Kind, TracksideError

USAGE_EXIT = 2


class UsageRefused(TracksideError):
    code = "command.usage"
    kind = Kind.INVALID
    hint = "Add `--help` to the command: it says what it takes."


class Parser(ArgumentParser):
    """A parser that complains as everything here does: a sentence, a hint, a code. The commands below it are such parsers too."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("trackside ")
        sentence = f"`{command}`: {message[0].lower()}{message[1:].rstrip('.')}."
        complain(UsageRefused(sentence, hint=f"`bin/{self.prog} --help` says what it takes."))
        sys.exit(USAGE_EXIT)
