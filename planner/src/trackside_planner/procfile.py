"""Procfile: lines of `name: command`."""

import re
from types import MappingProxyType

from trackside_planner.tree import Tree

_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(\S.*)$")
WEB = "web"
RELEASE = "release"
PROCFILE = "Procfile"


def read_processes(tree: Tree) -> MappingProxyType[str, str]:
    """The process types in their order; empty where there is no Procfile. Lines that are none are passed over."""
    text = tree.text(PROCFILE) or ""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := _LINE.match(line.strip()):
            found.setdefault(match[1], match[2].strip())
    return MappingProxyType(found)
