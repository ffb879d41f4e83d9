"""What can go wrong, as values: a stable code, a kind, one sentence, and a hint that mends it.

Doors turn a kind into their own status (REST status, exit code) in one place each; nothing below a door knows numbers.
"""

from enum import StrEnum


class Kind(StrEnum):
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    MISSING = "missing"
    CONFLICT = "conflict"
    LIMIT = "limit"
    UNAVAILABLE = "unavailable"


class TracksideError(Exception):
    """An error a person can act on.

    Subclasses set `code` (stable, dotted, documented), `kind` and `hint`; the sentence is given when it is raised.
    """

    code: str = "internal"
    kind: Kind = Kind.UNAVAILABLE
    hint: str = ""

    def __init__(self, sentence: str, *, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        if hint is not None:
            self.hint = hint
