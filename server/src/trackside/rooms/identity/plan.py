"""What a token looks like: pure text."""

TOKEN_PREFIX = "trackside_"
SHOWN = len(TOKEN_PREFIX) + 6


def token_text(secret: str) -> str:
    """The token as its owner gets it; the fixed beginning lets secret scanners find leaked ones."""
    return TOKEN_PREFIX + secret


def shown_prefix(token: str) -> str:
    """The part of a token that may be shown."""
    return token[:SHOWN]
