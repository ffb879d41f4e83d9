"""What can go wrong, with a sentence, a hint, a stable code and the exit code that scripts may trust."""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """How a command ended. These numbers never change their meaning."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_SIGNED_IN = 3
    DENIED = 4
    MISSING = 5
    CONFLICT = 6
    UNAVAILABLE = 7
    LIMIT = 8
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done; of a deployment: it reached SUCCESS (with `--detach`: it was accepted)",
    ExitCode.FAILED: "the deployment did not reach SUCCESS, or something else went wrong",
    ExitCode.USAGE: "the command line or a value in it is not valid",
    ExitCode.NOT_SIGNED_IN: "no token, or one that the platform does not accept",
    ExitCode.DENIED: "the token may not do this",
    ExitCode.MISSING: "what was named does not exist, or may not be seen",
    ExitCode.CONFLICT: "the present state does not allow it",
    ExitCode.UNAVAILABLE: "the platform, or a part of it, does not answer",
    ExitCode.LIMIT: "a limit was reached; try later",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}


class CommandError(Exception):
    """An error a person can act on: one sentence, a hint that mends it, a stable code, an exit code."""

    code: str = "cli.failed"
    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, sentence: str, *, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint


class UsageError(CommandError):
    code = "cli.usage"
    exit_code = ExitCode.USAGE


class NotSignedIn(CommandError):
    code = "cli.not_signed_in"
    exit_code = ExitCode.NOT_SIGNED_IN


class Missing(CommandError):
    code = "cli.missing"
    exit_code = ExitCode.MISSING


class Ambiguous(CommandError):
    """More than one thing fits and none was named."""

    code = "cli.ambiguous"
    exit_code = ExitCode.USAGE


class FileError(CommandError):
    """A file of this machine can't be read or written."""

    code = "cli.file"


class NameRefused(CommandError):
    """The platform would take no upload with this in it."""

    code = "cli.name_refused"
    exit_code = ExitCode.USAGE


VERSIONS_HINT = "Bring the command line and the server to one version."


class UnexpectedAnswer(CommandError):
    """Something answered that does not speak our API."""

    code = "cli.unexpected_answer"


class Unreachable(CommandError):
    """No answer. `was_sent`: the request may have reached the platform, which may have acted on it."""

    code = "cli.unreachable"
    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, sentence: str, *, was_sent: bool, hint: str = "") -> None:
        super().__init__(sentence, hint=hint)
        self.was_sent = was_sent


class ApiError(CommandError):
    """The platform's own refusal, as it said it. `kind` is one of the seven kinds of the REST API."""

    EXIT_CODES: ClassVar[dict[str, ExitCode]] = {
        "invalid": ExitCode.USAGE,
        "unauthenticated": ExitCode.NOT_SIGNED_IN,
        "denied": ExitCode.DENIED,
        "missing": ExitCode.MISSING,
        "conflict": ExitCode.CONFLICT,
        "limit": ExitCode.LIMIT,
        "unavailable": ExitCode.UNAVAILABLE,
    }

    def __init__(self, kind: str, sentence: str, *, code: str, hint: str = "", request_id: str = "") -> None:
        super().__init__(sentence, hint=hint)
        self.kind = kind
        self.code = code
        self.request_id = request_id
        self.exit_code = self.EXIT_CODES.get(kind, ExitCode.FAILED)


PASSING_KINDS = frozenset({"unavailable", "limit", "internal"})


def is_passing(error: CommandError) -> bool:
    """Whether asking again later may help: nobody answers, or the platform is busy, starting or has stumbled."""
    return isinstance(error, Unreachable) or (isinstance(error, ApiError) and error.kind in PASSING_KINDS)
