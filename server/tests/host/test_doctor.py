"""Each finding of the doctor, provoked: by the real thing where one can be had, else by what the machine would have said."""

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, cast

import dns.message
import dns.rcode
import pytest
from aiodocker import DockerError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftest import Server
from trackside.host import locks
from trackside.host.commands import run
from trackside.host.disks import MachineDisks
from trackside.host.doctor import CHECKS, Finding, Health, Patient, Surroundings, examine, is_healthy
from trackside.host.doctor.certificates import judge_certificates
from trackside.host.doctor.names import (
    UNUSED_ADDRESS,
    can_be_had,
    judge_clock,
    judge_domain,
    judge_private,
    judge_resolvers,
    package_sources,
)
from trackside.host.doctor.parts import judge_engine, judge_unwatched
from trackside.host.doctor.system import CONTROLLERS, judge_disk_speed, judge_kernel
from trackside.host.errors import StateDamaged
from trackside.host.installation import APP_ROLE, layout_of, open_installation
from trackside.host.machine import Machine
from trackside.host.process_table import holder_of, sockets_on_all_addresses
from trackside.kit.crypto import KeyMissing
from trackside.rooms.builds.model import LeastSpace


@pytest.fixture
async def machine(directory: Path) -> Machine:
    """An installation that was made and not started."""
    directory.mkdir()
    installation = await open_installation(directory / "home", {}, directory / "reg")
    return Machine(layout_of(installation, directory / "home", directory / "reg"), installation)


async def check(name: str, machine: Machine, surroundings: Surroundings | None = None) -> Finding:
    return await CHECKS[name](Patient(machine, surroundings or Surroundings()))


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


# --- the machine ---


async def test_a_port_that_another_program_holds_is_found_with_who_holds_it(machine: Machine) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        taken = replace(machine, installation=replace(machine.installation, api_port=port_of(listener)))
        found = await check("ports", taken)
    assert found.health is Health.FAILED
    assert f"(process {os.getpid()})" in found.sentence
    assert found.mend == f"TRACKSIDE_API_PORT={port_of_message(found)} make demo"
    assert (await check("ports", machine)).health is Health.OK


def port_of_message(found: Finding) -> int:
    return int(found.sentence.split()[1]) + 1


async def test_a_disk_that_is_full_is_found_and_is_well_again_when_it_is_emptied(machine: Machine) -> None:
    home = machine.layout.home
    await run("mount", "-t", "tmpfs", "-o", "size=16m", "none", home)
    try:
        (home / "ballast").write_bytes(b"x" * ((16 << 20) - (200 << 10)))
        found = await check("disk", machine, Surroundings(least_space=LeastSpace(percent=10)))
        assert found.health is Health.FAILED
        assert "The disk of the state directory is low: 0 MiB are free, 1 MiB are needed." in found.sentence
        assert found.mend.startswith("bin/trackside admin collect")
        (home / "ballast").unlink()
        assert (await check("disk", machine)).health is not Health.FAILED
    finally:
        await run("umount", home)


async def test_a_disk_that_hangs_is_found_in_time_and_is_well_again_when_it_goes_on(
    machine: Machine, directory: Path
) -> None:
    image, place = directory / "disk.img", machine.layout.postgres_data
    await run("truncate", "--size", "16M", image)
    await run("mkfs.ext4", "-q", image)
    place.mkdir(parents=True, exist_ok=True)
    await run("mount", "-o", "loop", image, place)
    try:
        assert (await check("disk speed", machine)).health is Health.OK
        await run("fsfreeze", "--freeze", place)
        try:
            found = await check("disk speed", machine)
        finally:
            await run("fsfreeze", "--unfreeze", place)
        assert found.health is Health.FAILED
        assert "The disk of the database has not written 4 KiB" in found.sentence
        assert (await check("disk speed", machine)).health is Health.OK
        assert list(place.iterdir()) == [place / "lost+found"]
    finally:
        await run("umount", place)


def test_where_nothing_can_be_written_other_findings_say_why() -> None:
    assert judge_disk_speed({"the database": None}).health is Health.WARNING


def test_a_disk_that_is_slow_is_named() -> None:
    found = judge_disk_speed({"the state directory": 0.01, "the database": 1.25})
    assert found.health is Health.WARNING
    assert found.sentence.startswith("The disk of the database takes 1.2 s to write 4 KiB")


KERNEL: dict[str, Any] = {
    "filesystems": "nodev\tproc\nnodev\toverlay\n\text4\n",
    "has_loop": True,
    "controllers": CONTROLLERS,
    "firewall_complaint": "",
}


@pytest.mark.parametrize(
    ("changed", "health", "word", "mend"),
    [
        ({}, Health.OK, "are there", ""),
        ({"controllers": {"cpu", "pids"}}, Health.FAILED, "memory", "cgroup_enable=memory"),
        ({"firewall_complaint": "Operation not supported"}, Health.FAILED, "not supported", "modprobe nf_tables"),
        ({"has_loop": False}, Health.FAILED, "loop", "modprobe loop"),
        ({"filesystems": "nodev\tproc\n"}, Health.WARNING, "overlay", "modprobe overlay"),
    ],
)
def test_a_kernel_that_lacks_something_is_found(
    changed: Mapping[str, Any], health: Health, word: str, mend: str
) -> None:
    found = judge_kernel(**{**KERNEL, **changed})
    assert found.health is health
    assert word in found.sentence
    assert mend in found.mend


async def test_this_kernel_has_what_is_needed(machine: Machine) -> None:
    assert (await check("kernel", machine)).health is not Health.FAILED


# --- names and time ---


class Answering(asyncio.DatagramProtocol):
    """A DNS server that refuses every question."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.set_rcode(dns.rcode.REFUSED)
        self.transport.sendto(answer.to_wire(), addr)


async def test_resolvers_that_do_not_answer_are_found(machine: Machine) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Answering, local_addr=("127.0.0.1", 0))
    good = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        bad = f"127.0.0.1:{port_of(silent)}"
        found = [
            await check("resolvers", machine, Surroundings(upstream_resolvers=servers))
            for servers in ((good,), (bad, good), (bad,))
        ]
    transport.close()
    assert [one.health for one in found] == [Health.OK, Health.WARNING, Health.FAILED]
    assert all(bad in one.sentence and "`upstream_resolvers`" in one.mend for one in found[1:])


@pytest.mark.parametrize(
    ("kind", "address", "is_everywhere"),
    [
        (socket.SOCK_DGRAM, "0.0.0.0", True),
        (socket.SOCK_DGRAM, "127.0.0.1", False),
        (socket.SOCK_STREAM, "0.0.0.0", True),
    ],
)
def test_who_holds_a_port_of_every_address_keeps_our_resolver_from_it(
    kind: socket.SocketKind, address: str, is_everywhere: bool
) -> None:
    with closing(socket.socket(socket.AF_INET, kind)) as other:
        other.bind((address, 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        is_held = not can_be_had(UNUSED_ADDRESS, port_of(other))
        assert is_held is is_everywhere
        found = judge_private(holder_of(sockets_on_all_addresses(port_of(other))), is_held=is_held)
        assert found.health is (Health.FAILED if is_everywhere else Health.OK)
        assert (f"(process {os.getpid()})" in found.sentence) is is_everywhere


def test_a_machine_without_a_resolver_is_found() -> None:
    assert judge_resolvers((), (), "/etc/resolv.conf").health is Health.FAILED


@pytest.mark.parametrize(
    ("found", "health"),
    [
        ({"192.0.2.7"}, Health.OK),
        ({"127.0.0.1"}, Health.OK),
        ({"192.0.2.7", "198.51.100.1"}, Health.WARNING),
        (set(), Health.FAILED),
    ],
)
def test_a_domain_that_leads_elsewhere_or_nowhere_is_found(found: set[str], health: Health) -> None:
    judged = judge_domain("apps.example.com", found, {"192.0.2.7", "10.0.0.1"})
    assert judged.health is health
    assert (judged.mend == "") == (health is Health.OK)
    assert health is Health.OK or "*.apps.example.com" in judged.mend


async def test_a_domain_that_does_not_resolve_is_really_asked_for(machine: Machine) -> None:
    found = await check("domain", machine, Surroundings(base_domain="apps.invalid"))
    assert found.health is Health.FAILED
    assert (await check("domain", machine)).health is Health.OK


@asynccontextmanager
async def telling(at: datetime) -> AsyncIterator[str]:
    """A mirror whose clock says this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            f"HTTP/1.1 200 OK\r\nDate: {format_datetime(at, usegmt=True)}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_clock_that_differs_from_a_mirrors_is_found_with_whom_it_was_compared(machine: Machine) -> None:
    now = datetime.now(UTC)
    for at, health in (
        (now, Health.OK),
        (now - timedelta(hours=1), Health.FAILED),
        (now + timedelta(days=1), Health.FAILED),
    ):
        async with telling(at) as mirror:
            found = await check("clock", machine, Surroundings(mirrors=(mirror,)))
        assert found.health is health, found
        assert "127.0.0.1" in found.sentence


async def test_a_clock_is_compared_with_the_databases(machine: Machine, postgres_server: Server) -> None:
    url = postgres_server.url(APP_ROLE, "trackside")
    async with telling(datetime.now(UTC)) as mirror:
        found = await check("clock", machine, Surroundings(mirrors=(mirror,), database_url=url))
    assert found.health is Health.OK
    assert "the database within 0 s and 127.0.0.1" in found.sentence
    assert judge_clock({"the database": -90.0}).sentence.startswith("The clock is 90 s behind the database")
    assert judge_clock({}).health is Health.WARNING


def test_package_sources_are_read_from_either_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("# deb http://commented.test/ x\ndeb http://one.test/debian stable main\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "two.sources").write_text("Types: deb\nURIs: https://two.test/debian\n")
    assert package_sources(tmp_path) == ["http://one.test/debian", "https://two.test/debian"]


# --- parts ---


def engine_says(version: str, *, live_restore: bool = True) -> Finding:
    return judge_engine({"ServerVersion": version, "LiveRestoreEnabled": live_restore})


def test_an_engine_that_is_old_untested_or_stops_apps_when_it_restarts_is_found() -> None:
    assert engine_says("20.10.24+dfsg1").health is Health.OK
    assert [engine_says(version).health for version in ("19.03.1", "20.9.0")] == [Health.FAILED] * 2
    untested = engine_says("27.3.1")
    assert untested.health is Health.WARNING
    assert "tested with 20.x only" in untested.sentence
    off = engine_says("20.10.24", live_restore=False)
    assert off.health is Health.WARNING
    assert "Requests fail until it is back" in off.sentence
    assert "live-restore" in off.mend


async def test_an_engine_that_does_not_answer_is_found(machine: Machine) -> None:
    machine.layout.settings_file.write_text(
        json.dumps(json.loads(machine.layout.settings_file.read_text()) | {"engine_url": "unix:///none.sock"})
    )
    found = await check("engine", machine)
    assert (found.health, found.mend) == (Health.FAILED, "bin/trackside server start")
    assert "unix:///none.sock" in found.sentence


async def test_a_database_that_does_not_answer_is_found_ours_or_another(
    machine: Machine, postgres_server: Server
) -> None:
    assert (await check("database", machine)).health is Health.FAILED
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = port_of(listener)
    secret = "hunter2"
    elsewhere = Surroundings(database_url=f"postgresql://app:{secret}@127.0.0.1:{port}/trackside")
    found = await check("database", machine, elsewhere)
    assert (found.health, found.mend) == (Health.FAILED, "Correct TRACKSIDE_DATABASE_URL.")
    assert secret not in found.sentence
    there = Surroundings(database_url=postgres_server.url(APP_ROLE, "trackside"))
    assert (await check("database", machine, there)).health is Health.OK


HOLD = "import sys; from pathlib import Path; from trackside.host.locks import take; take(Path(sys.argv[1])); input()"


async def test_what_runs_without_a_supervisor_is_found_and_looked_at(machine: Machine) -> None:
    assert (await check("processes", machine)).sentence == "The platform is not running."
    lock = machine.layout.locks / "postgres"
    part = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, str(lock), stdin=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(20):
            while locks.holder(lock) != part.pid:
                await asyncio.sleep(0.02)
        found = {one.check: one for one in await examine(machine)}
    finally:
        part.kill()
        await part.wait()
    assert found["processes"].sentence.startswith("Nobody watches what runs (postgres): the supervisor is gone")
    assert found["processes"].mend == "bin/trackside server start"
    assert found["database"].sentence == "PostgreSQL takes no connections."
    assert "is bringing it back" in judge_unwatched(["postgres", "watcher"])


# --- certificates ---


def certificate(name: str, until: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


NOW = datetime.now(UTC)
GOOD = certificate("good", NOW + timedelta(days=365))
ENDING = certificate("ending", NOW + timedelta(days=29))
ENDED = certificate("ended", NOW - timedelta(days=1))


@pytest.mark.parametrize(
    ("parts", "health", "word"),
    [
        ((GOOD,), Health.OK, "1 certificate authorities"),
        ((GOOD, ENDING), Health.WARNING, "“ending”"),
        ((GOOD, ENDED), Health.WARNING, "“ended”"),
        ((ENDED,), Health.FAILED, "Every certificate"),
        ((GOOD,) * 60 + (ENDED, ENDING), Health.OK, "61 certificate authorities"),
        ((b"\x30\x82binary",), Health.FAILED, "PEM"),
        ((b"",), Health.FAILED, "PEM"),
    ],
)
async def test_certificates_that_are_ended_ending_or_none_are_found(
    machine: Machine, tmp_path: Path, parts: Sequence[bytes], health: Health, word: str
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"".join(parts))
    found = await check("certificates", machine, Surroundings(ca_bundle=bundle))
    assert found.health is health
    assert word in found.sentence
    assert (found.mend == "") == (health is Health.OK)


async def test_certificates_that_can_not_be_read_are_found(machine: Machine, tmp_path: Path) -> None:
    found = await check("certificates", machine, Surroundings(ca_bundle=tmp_path / "none.pem"))
    assert found.health is Health.FAILED
    assert "No such file" in found.sentence
    assert (
        judge_certificates(x509.load_pem_x509_certificates(GOOD), "x", NOW + timedelta(days=400)).health
        is Health.FAILED
    )


# --- all ---


async def breaks(trouble: Exception) -> Finding:
    raise trouble


async def test_everything_that_is_wrong_has_a_mend_and_a_check_that_breaks_is_a_finding(machine: Machine) -> None:
    troubles = (OSError("gone"), StateDamaged("gone"), KeyMissing("gone"), DockerError(500, "gone"))
    broken = {type(one).__name__: lambda _, one=one: breaks(one) for one in troubles}
    found = await examine(machine, more=broken)
    assert [one.check for one in found] == [*CHECKS, *broken]
    assert all(one.mend for one in found if one.health is not Health.OK)
    assert all(re.fullmatch("The check itself failed: .*gone.*", one.sentence) for one in found[-len(broken) :])
    assert not is_healthy(found)


async def test_measuring_finds_the_disk_that_a_directory_is_on(machine: Machine) -> None:
    layout = machine.layout
    spaces = await MachineDisks(layout.home, layout.data, layout.build_disk, "").measure()
    assert [space.name for space in spaces] == ["the state directory"]
