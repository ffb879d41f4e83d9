"""Every provider, in the order they are asked: the first that recognises the tree plans it. One file each in `providers/`."""

from collections.abc import Callable
from dataclasses import dataclass

from trackside_planner.model import Draft, PlanSettings
from trackside_planner.providers import node, plain, python, static
from trackside_planner.tree import Tree


@dataclass(frozen=True)
class Provider:
    """Knows one kind of app. `detect` names the file that gives the tree away (None: not of this kind); `draft` plans it."""

    name: str
    rule: str
    detect: Callable[[Tree], str | None]
    draft: Callable[[Tree, PlanSettings], Draft]


PROVIDERS: tuple[Provider, ...] = (
    Provider("python", "a Python project file or main file", python.detect, python.draft),
    Provider("node", "a package.json", node.detect, node.draft),
    Provider("static", "an index.html or a Staticfile", static.detect, static.draft),
    Provider("plain", "a Procfile and nothing that names a language", plain.detect, plain.draft),
)
