"""What the platform takes as a name or a link in an upload: told before anything is sent, not after. Pure.

The platform's own rule is the one that counts; a test holds this one against it.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

LONGEST_PATH = 2048  # bytes
LONGEST_NAME = 255
MOST_LINKS = 1000  # followed from one to the next, until it is left to the platform to say that they lead in a circle


def refusal(names: Iterable[str], links: Mapping[str, str]) -> tuple[str, str] | None:
    """The first name that would be refused, and why, to be said after it. `links`: where those lead that are symbolic links."""
    for name in names:
        if flaw := _flaw_of_name(name) or (name in links and _flaw_of_link(name, links)):
            return name, str(flaw)
    return None


def _flaw_of_name(name: str) -> str | None:
    if flaw := _flaw_of_text(name):
        return flaw
    if name.startswith("\\") or name[1:3] == ":\\":
        return "is an absolute path on other systems"
    if any(len(part.encode()) > LONGEST_NAME for part in PurePosixPath(name).parts):
        return "is too long"
    return None


def _flaw_of_text(text: str) -> str | None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "has control characters"
    return "is too long" if length > LONGEST_PATH else None


def _flaw_of_link(name: str, links: Mapping[str, str]) -> str | None:
    target = links[name]
    if target.startswith("/"):
        return "is a link to an absolute path"
    if flaw := _flaw_of_text(target):
        return f"is a link whose target {flaw}"
    return "is a link that leads out of the directory" if _leads_out(name, links) else None


def _leads_out(name: str, links: Mapping[str, str]) -> bool:
    """Follow the link, through all others that are uploaded."""
    at: list[str] = []
    left, followed = list(reversed(name.split("/"))), 0
    while left:
        part = left.pop()
        if part == "..":
            if not at:
                return True
            at.pop()
        elif part not in ("", "."):
            at.append(part)
            if (target := links.get("/".join(at))) is not None:
                at.pop()
                followed += 1
                if followed > MOST_LINKS:
                    return False
                left += reversed(target.split("/"))
    return False
