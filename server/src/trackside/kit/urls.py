"""URLs that people write: what keeps one from being kept and shown."""

import re
from urllib.parse import unquote

_PARTS = re.compile(r"\s*(?:([A-Za-z][A-Za-z0-9+.-]*):/+)?([^/?#\\]*)")
"""The scheme, where there is one, and what stands before the path."""


def flaw_of_url(url: str) -> str | None:
    """Why the URL may hold a credential, to be said after its name; None where it holds none.

    Read generously: what is no proper URL would be refused later, when it had been kept already. The user of ssh is no secret.
    """
    parts = _PARTS.match(url)
    scheme, authority = (parts[1] or "").lower() if parts else "", parts[2] if parts else ""
    if scheme == "file":
        return None
    user, at, rest = authority.rpartition("@") if scheme else authority.partition("@")
    if not at or not user:
        return None
    if ":" in unquote(user):
        return "has a password in it"
    is_of_ssh = "ssh" in scheme if scheme else ":" in rest
    return None if is_of_ssh else "has a user name in it, which may be a token"
