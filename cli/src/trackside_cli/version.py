"""Which version this is, and whether the server is of another one."""

import re

VERSION = "0.1.0"
"""This package's version, as in pyproject.toml: asking the installed metadata for it takes 25 ms."""


def difference(mine: str, servers: str) -> str | None:
    """A sentence where major or minor differ; None where they agree or can't be read."""
    here, there = _major_minor(mine), _major_minor(servers)
    if here is None or there is None or here == there:
        return None
    word, remedy = ("older", "Upgrade the command line") if here < there else ("newer", "Upgrade the server")
    return f"This command line ({mine}) is {word} than the server ({servers}). {remedy} if something looks wrong."


def _major_minor(version: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None
