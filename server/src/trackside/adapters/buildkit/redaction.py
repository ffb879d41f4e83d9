"""Secret values never appear in a log: each is replaced before a line is stored. Pure."""

from collections.abc import Iterable

SHOWN = "[redacted]"
SHORTEST = 8
"""Shorter values (`true`, `8080`, `prod`) are no secrets worth hiding, and hiding them would ruin the log."""


class Redactor:
    """Replaces secret values in lines; of a value with several lines each line counts."""

    def __init__(self, values: Iterable[str]) -> None:
        parts = {part.strip() for value in values for part in value.splitlines()}
        self._parts = sorted((part for part in parts if len(part) >= SHORTEST), key=len, reverse=True)

    def redact(self, line: str) -> str:
        for part in self._parts:
            if part in line:
                line = line.replace(part, SHOWN)
        return line
