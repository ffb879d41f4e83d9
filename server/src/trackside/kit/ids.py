"""Identifiers: UUIDv7, so that ids sort by the time they were made."""

from uuid import UUID

from uuid_utils import compat


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return compat.uuid7()


def parse_id(text: str) -> UUID | None:
    """The UUID a person or program wrote, or None where it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
