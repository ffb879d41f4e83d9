"""The machine itself: rights, programs, what the kernel can, disks, ports."""

import asyncio
import math
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from trackside.host.cgroups import Hierarchies, system_hierarchies
from trackside.host.commands import attempt, find_program
from trackside.host.disks import MachineDisks
from trackside.host.doctor.findings import Finding, Patient, failed, ok, warning
from trackside.host.errors import ProgramMissing
from trackside.host.files import read_json
from trackside.host.process_table import carries, holder_of_port, listening_sockets
from trackside.host.start import PROGRAMS

CONTROLLERS = frozenset({"cpu", "memory", "pids"})
WRITE = """
import os, sys, tempfile, time
with tempfile.TemporaryFile(dir=sys.argv[1]) as file:
    began = time.monotonic()
    file.write(bytes(4096))
    file.flush()
    os.fsync(file.fileno())
    print(time.monotonic() - began)
"""
"""Run as a program of its own: a disk that hangs holds it, and not who asks."""
SLOW_SECONDS, HANGING_SECONDS = 0.5, 5
"""For a block of 4 KiB to be safe on the disk: a spinning disk that is busy takes a twentieth of a second."""


async def rights(_: Patient) -> Finding:
    if os.geteuid() == 0:
        return ok("rights", "Running as root.")
    return warning("rights", "Not root: some checks see only a part.", "sudo bin/trackside server doctor")


async def programs(_: Patient) -> Finding:
    missing: list[str] = []
    for program in PROGRAMS:
        try:
            find_program(program)
        except ProgramMissing:
            missing.append(program)
    if missing:
        return failed("programs", f"Not installed: {', '.join(missing)}.", "make setup")
    return ok("programs", "Every system program is installed.")


async def kernel(_: Patient) -> Finding:
    """What apps and builds need of the kernel."""
    firewall = await attempt("nft", "list", "tables")
    return judge_kernel(
        await asyncio.to_thread(Path("/proc/filesystems").read_text),
        has_loop=Path("/dev/loop-control").exists(),
        controllers=controllers_of(system_hierarchies()),
        firewall_complaint=firewall.complaint.strip() if firewall.status else "",
    )


def controllers_of(hierarchies: Hierarchies) -> set[str]:
    """The controllers of control groups, of whichever version."""
    found = {name for name in hierarchies.v1 if not name.startswith("name=")}
    if hierarchies.v2:
        file = hierarchies.v2 / "cgroup.controllers"
        found |= set(file.read_text().split()) if file.exists() else set()
    return {part for name in found for part in name.split(",")}


def judge_kernel(filesystems: str, *, has_loop: bool, controllers: Collection[str], firewall_complaint: str) -> Finding:
    """Pure. `filesystems` as /proc lists them."""
    if missing := sorted(CONTROLLERS - set(controllers)):
        mend = f"Boot with `cgroup_enable={missing[0]}`; in a container, run it with `--privileged`."
        return failed("kernel", f"No control groups for {', '.join(missing)}: limits of apps can't hold.", mend)
    if firewall_complaint:
        return failed("kernel", f"The kernel takes no nftables rules: {firewall_complaint}.", "modprobe nf_tables")
    if not has_loop:
        return failed("kernel", "There are no loop devices, which the builds' disk needs.", "modprobe loop")
    if "overlay" not in filesystems.split():
        sentence = "There is no overlay file system: engines copy every layer, slowly."
        return warning("kernel", sentence, "modprobe overlay")
    return ok("kernel", "Control groups, nftables, loop devices and overlay are there.")


async def disk(patient: Patient) -> Finding:
    """By the same rule by which new deployments are refused."""
    machine, least = patient.machine, patient.surroundings.least_space
    layout = machine.layout
    stored = read_json(layout.settings_file) or {}
    disks = MachineDisks(layout.home, layout.data, layout.build_disk, str(stored.get("engine_url", "")))
    spaces = await disks.measure()
    for space in spaces:
        if least.is_low(space):
            sentence = f"{least.sentence(space)} New deployments are refused; what runs goes on. It is {space.place}."
            clearing = f"du -xh {space.place} | sort -h | tail"
            if space.is_for_builds:
                clearing = (
                    f'raise "build_disk_bytes" in {layout.settings_file}, bin/trackside server stop, '
                    "bin/trackside server start (the build cache goes with the old disk)"
                )
            return failed("disk", sentence, f"bin/trackside admin collect; then: {clearing}")
    free, wanted = spaces[0].free_bytes, room_to_grow(layout.build_disk_file, machine.options.build_disk_bytes)
    if free < wanted:
        sentence = f"{free >> 30} GiB free; the builds' disk may grow by {wanted >> 30} GiB."
        smaller = (
            f'put "build_disk_bytes": 8589934592 into {layout.settings_file}; bin/trackside server stop; make demo'
        )
        return warning("disk", sentence, smaller)
    return ok("disk", "; ".join(f"{space.name} has {space.free_bytes >> 20} MiB free" for space in spaces) + ".")


def room_to_grow(file: Path, size: int) -> int:
    """Bytes that a sparse file does not take yet."""
    return max(0, size - file.stat().st_blocks * 512) if file.exists() else size


async def disk_speed(patient: Patient) -> Finding:
    """Whether the disks write: PostgreSQL waits for that with each change."""
    layout = patient.machine.layout
    places = {"the state directory": layout.home, "the database": layout.postgres_data}
    return judge_disk_speed({name: await seconds_to_write(place) for name, place in places.items() if place.exists()})


async def seconds_to_write(place: Path) -> float | None:
    """How long 4 KiB take to be safe on the disk of this directory; endless where that takes too long, None where they are refused."""
    try:
        async with asyncio.timeout(HANGING_SECONDS):
            written = await attempt(sys.executable, "-c", WRITE, place, seconds=2 * HANGING_SECONDS)
    except TimeoutError:
        return math.inf
    return None if written.status else float(written.output)


def judge_disk_speed(taken: Mapping[str, float | None]) -> Finding:
    """Pure. `taken`: seconds for each disk."""
    known = {name: seconds for name, seconds in taken.items() if seconds is not None}
    if not known:
        sentence = "Nothing can be written: `rights` or `disk` says why."
        return warning("disk speed", sentence, "sudo bin/trackside server doctor")
    slowest, seconds = max(known.items(), key=lambda pair: pair[1])
    if seconds > HANGING_SECONDS:
        sentence = (
            f"The disk of {slowest} has not written 4 KiB in {HANGING_SECONDS} s: changes wait, what serves goes on."
        )
        return failed("disk speed", sentence, "dmesg | tail; then the disk, or what it is mounted from")
    if seconds > SLOW_SECONDS:
        sentence = f"The disk of {slowest} takes {seconds:.1f} s to write 4 KiB: every change waits so long."
        return warning("disk speed", sentence, "iotop -oa, or iostat -x 1: who writes so much")
    return ok("disk speed", f"4 KiB are safe on the disk of {slowest} after {seconds * 1000:.0f} ms.")


async def ports(patient: Patient) -> Finding:
    machine = patient.machine
    for port, variable in (
        (machine.installation.api_port, "TRACKSIDE_API_PORT"),
        (machine.installation.edge_port, "TRACKSIDE_EDGE_PORT"),
    ):
        holder = holder_of_port(port)
        if listening_sockets(port) and not (holder and carries(holder.pid, machine.layout.installation)):
            who = f"`{holder.command}` (process {holder.pid})" if holder else "another user's program"
            return failed("ports", f"Port {port} is held by {who}.", f"{variable}={port + 1} make demo")
    return ok("ports", "The platform's ports are its own or free.")
