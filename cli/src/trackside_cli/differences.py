"""What importing variables would change: names only, for values are secrets. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trackside_cli.client.types import Variable


@dataclass(frozen=True)
class Difference:
    """Names by what would happen to them, each in order. `hidden`: present, but whether they would change can't be seen."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    hidden: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing would happen, as far as can be seen."""
        return not (self.added or self.changed or self.hidden or self.removed)

    def patch(self, wanted: Mapping[str, str]) -> dict[str, str | None]:
        """The one request that makes it so: what differs, and None for what goes."""
        differing = {name: wanted[name] for name in (*self.added, *self.changed, *self.hidden)}
        return {**differing, **dict.fromkeys(self.removed)}

    def lines(self) -> list[str]:
        """A line for each name that something happens to, and one for the others."""
        told = [f"+ {name}" for name in self.added]
        told += [f"~ {name}" for name in self.changed]
        told += [f"~ {name}  (sealed: it can't be seen whether it changes)" for name in self.hidden]
        told += [f"- {name}" for name in self.removed]
        return [*told, f"= {len(self.unchanged)} unchanged"] if self.unchanged else told


def difference(present: Sequence[Variable], wanted: Mapping[str, str], *, replaces: bool) -> Difference:
    """From what is set to what a file says. `replaces`: what the file lacks goes."""
    before = {one["name"]: one["value"] for one in present}
    both = [name for name in wanted if name in before]
    return Difference(
        added=tuple(name for name in wanted if name not in before),
        changed=tuple(name for name in both if before[name] not in (None, wanted[name])),
        hidden=tuple(name for name in both if before[name] is None),
        removed=tuple(name for name in before if name not in wanted) if replaces else (),
        unchanged=tuple(name for name in both if before[name] == wanted[name]),
    )
