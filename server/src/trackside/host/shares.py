"""Who has the processors first when all of them are wanted: control groups of different weights.

Niceness would not do: the kernel weighs sessions before processes (`sched_autogroup`), and each of PostgreSQL's processes is a session
of its own, while the supervisor and all that it runs are one.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from trackside.host.cgroup_limits import Limits
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.launch import Launch
from trackside.host.layout import Layout
from trackside.host.process_table import tree

SERVING = frozenset({"haproxy", "edge", "gateway", "postgres"})
BEHIND = frozenset({"monitor"})


async def make_groups(layout: Layout) -> None:
    """Have the control groups. Idempotent. Errors: OSError where the kernel has none."""
    groups = ControlGroups(system_hierarchies())
    for group, limits in shares(layout).items():
        await asyncio.to_thread(groups.create, group, limits)


def move(layout: Layout, pids: Mapping[str, int], launches: Mapping[str, Launch]) -> None:
    """Take processes that run already, by name, into their groups, with their children: an earlier version had none of these groups.

    What is launched into a control group of its own stays there.
    """
    groups = ControlGroups(system_hierarchies())
    for name, pid in pids.items():
        for each in () if name in launches and launches[name].control_group else tree(pid):
            with suppress(OSError):  # it has ended, or has to do without
                groups.join(group_of(layout, name), each)


def shares(layout: Layout) -> Mapping[str, Limits]:
    """Control group → its weight, parents first. 100 is what every other session of the machine has. Pure."""
    return {
        layout.control_group: Limits(weight=400),
        layout.serving_group: Limits(weight=400),
        layout.apps_group: Limits(weight=200),
        layout.working_group: Limits(weight=50),
        layout.behind_group: Limits(weight=10),
    }


def group_of(layout: Layout, name: str) -> str:
    """The control group of a part or process of the platform. Pure."""
    if name in SERVING:
        return layout.serving_group
    return layout.behind_group if name in BEHIND else layout.working_group
