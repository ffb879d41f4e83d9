"""Which commit a branch, tag or commit name means, by what the remote lists. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
_FULL_LENGTHS = (40, 64)


@dataclass(frozen=True)
class Listing:
    """What a remote lists: reference → commit, and the branch that HEAD names."""

    references: Mapping[str, str]
    default_branch: str | None


@dataclass(frozen=True)
class Wanted:
    """What to fetch: `name` is a full reference or commit; None where all must be fetched to find `abbreviated`."""

    name: str | None
    branch: str | None = None
    abbreviated: str | None = None


def read_listing(output: str) -> Listing:
    """From the output of `git ls-remote --symref`."""
    references: dict[str, str] = {}
    default = None
    for line in output.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            default = value.removeprefix("ref: refs/heads/")
        elif name:
            references[name] = value
    return Listing(references, default)


def choose(listing: Listing, reference: str | None) -> Wanted | None:
    """Branch before tag before commit; None where the remote has nothing of that name."""
    if reference is None:
        return Wanted("HEAD", listing.default_branch) if "HEAD" in listing.references else None
    for name, branch in _candidates(reference):
        if name in listing.references:
            return Wanted(name, branch)
    return _choose_commit(listing, reference)


def _candidates(reference: str) -> list[tuple[str, str | None]]:
    if reference.startswith("refs/"):
        return [(reference, reference.removeprefix("refs/heads/") if reference.startswith("refs/heads/") else None)]
    return [(f"refs/heads/{reference}", reference), (f"refs/tags/{reference}", None)]


def _choose_commit(listing: Listing, reference: str) -> Wanted | None:
    if not _COMMIT.fullmatch(reference):
        return None
    reference = reference.lower()
    if len(reference) in _FULL_LENGTHS:
        return Wanted(reference)
    listed = {commit for commit in listing.references.values() if commit.startswith(reference)}
    return Wanted(listed.pop()) if len(listed) == 1 else Wanted(None, abbreviated=reference)
