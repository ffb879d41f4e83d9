"""Opens the private network: the kernel forwards, and the one nftables table says what."""

import asyncio
from dataclasses import replace

from trackside.host.bridges import uplink_bridges
from trackside.host.cgroup_limits import Limits
from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.firewall import Firewall
from trackside.host.firewall_rules import BuildEngineRules
from trackside.host.kernel import KernelSettings
from trackside.host.machine import Machine
from trackside.host.mirrors import endpoints, resolved, seen_again, services

FORWARDING = "net.ipv4.ip_forward"


async def open_network(machine: Machine) -> None:
    """Let the machine forward, by our rules alone. Idempotent. Errors: `CommandFailed`, `ProgramMissing`."""
    was_off = KernelSettings().need(FORWARDING, "1", machine.layout.installation)
    plan = replace(
        machine.firewall_plan(close_uplinks=was_off),
        uplink_bridges=await uplink_bridges(),
        build_engine=await build_engine_rules(machine),
    )
    await Firewall(plan).apply()


async def build_engine_rules(machine: Machine) -> BuildEngineRules | None:
    """The rules for the build engine itself; None where the machine has no control groups of version 2 to know it by."""
    groups = ControlGroups(system_hierarchies())
    group = machine.layout.build_engine_group
    path = groups.path_for_firewall(group)
    if path is None:
        return None
    await asyncio.to_thread(groups.create, group, Limits())  # the kernel takes a rule only for a group that is there
    seen = seen_again({}, await resolved(endpoints(machine.services_of_build_engine)), 0)
    return BuildEngineRules(path, len(group.strip("/").split("/")), services(seen))
