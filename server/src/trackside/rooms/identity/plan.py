"""What a token looks like and how it is named: pure text."""

from collections.abc import Sequence

from trackside.rooms.identity.errors import TokenAmbiguous, TokenMissing, TokenNameRefused
from trackside.rooms.identity.model import Token

TOKEN_PREFIX = "trackside_"
SHOWN = len(TOKEN_PREFIX) + 6


def token_text(secret: str) -> str:
    """The token as its owner gets it; the fixed beginning lets secret scanners find leaked ones."""
    return TOKEN_PREFIX + secret


def shown_prefix(token: str) -> str:
    """The part of a token that may be shown."""
    return token[:SHOWN]


def check_token_name(name: str) -> None:
    """Errors: `TokenNameRefused`."""
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise TokenNameRefused(f"`{name[:60]!a}` is no name for a token.")


def token_meant(tokens: Sequence[Token], named: str) -> Token:
    """The token of this id, else of this beginning, else of this name. Errors: `TokenMissing`, `TokenAmbiguous`."""
    for field in ("id", "prefix", "name"):
        found = [token for token in tokens if str(getattr(token, field)) == named]
        if len(found) == 1:
            return found[0]
        if found:
            raise TokenAmbiguous(f"{len(found)} tokens have the {field} `{named}`.")
    # It may be a whole token with a slip in it.
    raise TokenMissing(f"There is no token `{shown_prefix(named) if named.startswith(TOKEN_PREFIX) else named}`.")
