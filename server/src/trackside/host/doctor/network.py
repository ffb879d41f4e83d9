"""The firewall: ours in force, no other one in the way."""

from trackside.host.cgroups import ControlGroups, system_hierarchies
from trackside.host.doctor.findings import Finding, Patient, failed, ok, warning
from trackside.host.firewall import Firewall, foreign_drops, knows_build_engine
from trackside.host.kernel import KernelSettings
from trackside.host.network import FORWARDING

UNIFIED = "/sys/fs/cgroup/unified"


async def forwarding(patient: Patient) -> Finding:
    machine = patient.machine
    if KernelSettings().read(FORWARDING) != "1":
        sentence = "The kernel forwards nothing: apps and builds reach no network."
        return failed("forwarding", sentence, "bin/trackside server start")
    rules = await Firewall(machine.firewall_plan(close_uplinks=False)).rules()
    if not rules:
        sentence = "The platform's firewall table is gone: environments are not kept apart."
        return failed("forwarding", sentence, "bin/trackside server start")
    if not knows_build_engine(rules):
        groups = ControlGroups(system_hierarchies())
        is_mounted = groups.path_for_firewall(machine.layout.build_engine_group) is not None
        mount = f"mkdir -p {UNIFIED} && mount -t cgroup2 none {UNIFIED} && "
        sentence = (
            "The build engine is not kept from the machine's own addresses: that needs control groups of version 2."
        )
        return warning("forwarding", sentence, ("" if is_mounted else mount) + "bin/trackside server start")
    return ok("forwarding", "The kernel forwards, by the platform's rules.")


async def foreign_firewall(patient: Patient) -> Finding:
    machine = patient.machine
    drops = await foreign_drops(machine.layout.firewall_table)
    shut = [drop for drop in drops if not drop.can_open]
    if shut:
        names = ", ".join(f"{drop.table} {drop.chain}" for drop in shut)
        prefix = machine.installation.interface_prefix
        mend = f"Allow forwarding from and to the interfaces `{prefix}*` in that firewall, and DNS (port 53) from them."
        return failed("foreign firewall", f"Another firewall drops our traffic: {names}.", mend)
    if drops:
        return ok("foreign firewall", "Another firewall drops by default; ours are let through it.")
    return ok("foreign firewall", "No other firewall drops our traffic.")
