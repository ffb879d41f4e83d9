"""The upgrade, decided: its steps, whether a version may follow another, the order of restarts, and configurations in between.

Pure: values in, values out.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trackside.host.errors import VersionUnusable
from trackside.host.version_source import Source
from trackside.host.versions import Version

SERVES_ON = "haproxy"
"""The one process of the platform that an upgrade leaves alone: it serves the apps."""
PROGRAM = re.compile(r"^(?=\[program:([\w-]+)\]$)", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One announced step."""

    name: str
    sentence: str


BESIDE = (
    Step("check", "looking at the version and at this machine"),
    Step("prepare", "preparing the version beside the present one"),
)
"""Done by the present version, which then hands over."""
ONTO = (
    Step("examine", "asking the new version whether it can run here"),
    Step("snapshot", "saving the database"),
    Step("migrate", "widening the schemas"),
    Step("restart", "restarting the processes one by one"),
    Step("verify", "making sure that they work"),
    Step("switch", "making the new version the current one"),
)
"""Done by the new version itself: it knows best how it is run."""
STEPS = (*BESIDE, *ONTO)


def refuse_older(present: Version, wanted: Source, *, allow_downgrade: bool) -> None:
    """A version follows an older one, or another build of the same. Errors: `VersionUnusable`."""
    if _numbers(wanted.number) < _numbers(present.number) and not allow_downgrade:
        raise VersionUnusable(
            f"{wanted.number} is older than the version that runs, {present.number}.",
            hint="Going back is safe to the version before only, for what it left unused may be gone: `--allow-downgrade`.",
        )


def _numbers(version: str) -> tuple[int, ...]:
    """`0.10.2rc1` → (0, 10, 2): a pre-release counts as the release."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def restart_order(processes: Sequence[str]) -> tuple[str, ...]:
    """Who takes work before who gives it, so that nothing is asked of an older process than asks; the API last."""
    return tuple(name for name in reversed(processes) if name != SERVES_ON)


def configuration_between(before: str, after: str, restarted: Collection[str]) -> str:
    """The supervisor's configuration on the way from one version to the next: these programs as after it, all others as before."""
    head, old = _programs(before)
    _, new = _programs(after)
    blocks = {**old, **{name: new[name] for name in restarted}}
    return head + "".join(blocks.values())


def _programs(configuration: str) -> tuple[str, dict[str, str]]:
    """What stands before the programs, and each program's section."""
    head, *rest = PROGRAM.split(configuration)
    return head, dict(zip(rest[::2], rest[1::2], strict=True))
