"""Looks for what is wrong with the machine or the platform: each finding with the command that mends it."""

import asyncio
from collections.abc import Mapping, Sequence

from trackside.host.doctor import certificates, names, network, orphans, parts, system
from trackside.host.doctor.findings import Check, Finding, Health, Patient, Surroundings
from trackside.host.machine import Machine
from trackside.host.processes import Supervisor

__all__ = ["CHECKS", "Check", "Finding", "Health", "Patient", "Surroundings", "examine", "is_healthy"]

CHECKS: dict[str, Check] = {
    "rights": system.rights,
    "programs": system.programs,
    "kernel": system.kernel,
    "disk": system.disk,
    "disk speed": system.disk_speed,
    "ports": system.ports,
    "database": parts.database,
    "engine": parts.engine,
    "build engine": parts.build_engine,
    "processes": parts.processes,
    "forwarding": network.forwarding,
    "foreign firewall": network.foreign_firewall,
    "domain": names.domain,
    "resolvers": names.resolvers,
    "names": names.outside,
    "private names": names.private,
    "clock": names.clock,
    "certificates": certificates.certificates,
    "orphans": orphans.orphans,
}
"""In the order in which they are shown."""
OF_A_RUNNING_PLATFORM = frozenset({"database", "engine", "build engine", "forwarding", "garbage"})
"""What is gone after a stop, as it should be."""
LONGEST_SECONDS = 20


async def examine(
    machine: Machine, surroundings: Surroundings | None = None, more: Mapping[str, Check] | None = None
) -> list[Finding]:
    """Run every check, and those of others after them; one that breaks is a finding as well."""
    supervisor = Supervisor(machine.supervisor_plan({}), machine.layout.supervisor_config)
    is_running = await supervisor.is_running() or bool(supervisor.unwatched())
    patient = Patient(machine, surroundings or Surroundings())
    return [
        await _run(name, check, patient)
        if is_running or name not in OF_A_RUNNING_PLATFORM
        else Finding(name, Health.WARNING, "Not looked at: the platform is not running.", "bin/trackside server start")
        for name, check in {**CHECKS, **(more or {})}.items()
    ]


async def _run(name: str, check: Check, patient: Patient) -> Finding:
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            return await check(patient)
    except Exception as trouble:  # noqa: BLE001 — whatever is wrong with one thing, the others are looked at
        told = str(trouble) or type(trouble).__name__
        mend = (
            getattr(trouble, "hint", "")
            or f"Ask again; where it stays so, read the logs in {patient.machine.layout.logs}."
        )
        return Finding(name, Health.FAILED, f"The check itself failed: {told}", mend)


def is_healthy(findings: Sequence[Finding]) -> bool:
    return all(finding.health is not Health.FAILED for finding in findings)
