"""What the engine is told and what its answers mean: goldens and small tables, without an engine."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from uuid import UUID

import pytest

from trackside.adapters.docker import manifests
from trackside.adapters.docker.frames import LONGEST_LINE, LogDecoder
from trackside.adapters.docker.manifests import DockerOptions
from trackside.rooms.deployments.model import (
    Limits,
    Network,
    RestartPolicy,
    Role,
    SeenState,
    Workload,
)

GOLDEN = Path(__file__).with_name("golden")
NETWORK = Network(UUID("01900000-0000-7000-8000-00000000000e"), IPv4Network("10.210.7.0/24"))
PLAIN = Workload(
    workspace_id=UUID("01900000-0000-7000-8000-000000000001"),
    project_id=UUID("01900000-0000-7000-8000-000000000002"),
    environment_id=NETWORK.environment_id,
    service_id=UUID("01900000-0000-7000-8000-000000000003"),
    service_instance_id=UUID("01900000-0000-7000-8000-000000000004"),
    deployment_id=UUID("01900000-0000-7000-8000-000000000005"),
    replica_id=UUID("01900000-0000-7000-8000-a1b2c3d4e5f6"),
    role=Role.REPLICA,
    image_id="sha256:" + "a" * 64,
    argv=("gunicorn", "app:app", "--bind", "0.0.0.0:$PORT"),
    is_entrypoint_replaced=True,
    user="1000",
    variables={"PORT": "8080", "EMPTY": "", "LINES": 'a\nb "c" $d'},
    network=NETWORK,
    address=IPv4Address("10.210.7.12"),
    restart=RestartPolicy.ON_FAILURE,
    max_restarts=10,
    limits=Limits(cpu=1.5, memory_bytes=512 << 20),
    capabilities=("CHOWN", "NET_BIND_SERVICE"),
)


def test_the_container_body_is_as_reviewed() -> None:
    body = manifests.container_body(PLAIN, "abcd1234", DockerOptions(open_files=65536), cores=8)
    assert body == json.loads((GOLDEN / "container.json").read_text())


def test_the_network_body_is_as_reviewed() -> None:
    body = manifests.network_body(NETWORK, "abcd1234", DockerOptions(interface_prefix="ts1a2b"))
    assert body == json.loads((GOLDEN / "network.json").read_text())


@pytest.mark.parametrize("prefix", ["", "ts", "ts1a2b"])
def test_an_interfaces_name_fits_the_kernel_and_differs_by_environment(prefix: str) -> None:
    name = manifests.interface_name(prefix, NETWORK.environment_id)
    assert len(name) == 15
    assert name.startswith(prefix)
    assert name != manifests.interface_name(prefix, PLAIN.replica_id)


@pytest.mark.parametrize(
    ("restart", "most", "role", "policy"),
    [
        (RestartPolicy.NEVER, 5, Role.REPLICA, ("no", 0)),
        (RestartPolicy.ON_FAILURE, 5, Role.REPLICA, ("on-failure", 5)),
        (RestartPolicy.ON_FAILURE, 0, Role.REPLICA, ("no", 0)),
        (RestartPolicy.ALWAYS, 5, Role.REPLICA, ("unless-stopped", 0)),
        (RestartPolicy.ALWAYS, 5, Role.PRE_DEPLOY, ("no", 0)),
    ],
)
def test_restart_policies(restart: RestartPolicy, most: int, role: Role, policy: tuple[str, int]) -> None:
    body = manifests.restart_policy(replace(PLAIN, restart=restart, max_restarts=most, role=role))
    assert (body["Name"], body["MaximumRetryCount"]) == policy


TABLES = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:2405 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0B00007F:9C41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 0C07D20A:1F90 0107D20A:D431 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: 00000000000000000000000001000000:0BB9 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   2: 0000000000000000FFFF00000100007F:0BBA 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   3: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


def test_listening_ports_leave_out_loopback_connections_and_the_engines_resolver() -> None:
    assert manifests.listening_ports(TABLES) == ((3000, 8080), (3001, 3002, 9221))
    assert manifests.listening_ports("") == ((), ())
    assert manifests.listening_ports("nonsense\n") == ((), ())


def an_inspection(**state: object) -> dict[str, object]:
    labels = manifests.container_labels(PLAIN, "abcd1234")
    zero = {"Status": "running", "ExitCode": 0, "OOMKilled": False, "StartedAt": "2026-01-02T03:04:05.123456789Z"}
    zero |= {"FinishedAt": "0001-01-01T00:00:00Z"}
    return {
        "Config": {"Labels": labels},
        "State": zero | state,
        "RestartCount": 2,
        "NetworkSettings": {"Networks": {"n": {"IPAddress": "", "IPAMConfig": {"IPv4Address": "10.210.7.12"}}}},
    }


@pytest.mark.parametrize(
    ("status", "code", "state", "exit_code"),
    [
        ("created", 0, SeenState.CREATED, None),
        ("created", 127, SeenState.CREATED, 127),
        ("running", 0, SeenState.RUNNING, None),
        ("paused", 0, SeenState.RUNNING, None),
        ("restarting", 1, SeenState.RESTARTING, 1),
        ("exited", 0, SeenState.EXITED, 0),
        ("removing", 137, SeenState.EXITED, 137),
        ("dead", 1, SeenState.EXITED, 1),
    ],
)
def test_inspections_are_read(status: str, code: int, state: SeenState, exit_code: int | None) -> None:
    seen = manifests.seen_replica(an_inspection(Status=status, ExitCode=code))
    assert seen
    assert (seen.state, seen.exit_code, seen.restarts) == (state, exit_code, 2)
    assert (seen.replica_id, seen.address) == (PLAIN.replica_id, PLAIN.address)
    assert seen.started_at == datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)


DOWN = manifests.Downtime(datetime(2026, 1, 2, 4, tzinfo=UTC), datetime(2026, 1, 2, 5, tzinfo=UTC))
EARLIER = manifests.Downtime(datetime(2026, 1, 2, 2, tzinfo=UTC), datetime(2026, 1, 2, 3, tzinfo=UTC))


@pytest.mark.parametrize(
    ("status", "finished", "downtime", "is_cut_off"),
    [
        ("exited", "2026-01-02T05:00:01Z", DOWN, True),
        ("exited", "2026-01-02T04:59:59Z", DOWN, True),
        ("exited", "2026-01-02T04:00:01Z", DOWN, True),
        ("exited", "2026-01-02T03:59:59Z", DOWN, False),
        ("exited", "2026-01-02T06:00:00Z", DOWN, False),
        ("exited", "2026-01-02T05:00:01Z", EARLIER, False),
        ("exited", "2026-01-02T05:00:01Z", None, False),
        ("running", "2026-01-02T05:00:01Z", DOWN, False),
    ],
    ids=[
        "found dead by our engine",
        "found dead by one that came up before us",
        "ended in order",
        "ended before",
        "ended long after",
        "started since",
        "unknown",
        "runs again",
    ],
)
def test_what_ran_until_the_machine_went_down_was_cut_off(
    status: str, finished: str, downtime: manifests.Downtime | None, is_cut_off: bool
) -> None:
    inspection = an_inspection(Status=status, ExitCode=255, FinishedAt=finished)
    seen = manifests.seen_replica(inspection, downtime=downtime)
    assert seen
    assert seen.is_cut_off is is_cut_off


def test_what_does_not_carry_our_labels_is_nothing_of_ours() -> None:
    assert manifests.seen_replica(an_inspection() | {"Config": {"Labels": None}}) is None
    assert manifests.seen_network({"Labels": None, "IPAM": {"Config": None}}) is None
    assert manifests.event_ids({"Actor": {"Attributes": {"image": "x"}}}) is None
    assert manifests.event_ids({}) is None


def test_after_is_the_next_microsecond() -> None:
    assert manifests.after(datetime(2026, 1, 2, 3, 4, 5, 999999, UTC)) == "1767323046.000000000"


def frame(stream: int, text: bytes, time: bytes = b"2026-01-02T03:04:05.678901234Z") -> bytes:
    body = time + b" " + text
    return bytes([stream, 0, 0, 0]) + len(body).to_bytes(4) + body


def test_frames_are_joined_whatever_the_cuts_in_the_stream() -> None:
    data = frame(1, b"one\n") + frame(1, b"long ") + frame(2, b"err\n") + frame(1, b"line\n") + frame(1, b"\xff\n")
    expected = [("stdout", "one"), ("stderr", "err"), ("stdout", "long line"), ("stdout", "\ufffd")]
    for size in (1, 2, 7, 50, 1000):
        decoder, got = LogDecoder(is_terminal=False), []
        for start in range(0, len(data), size):
            got += [(stream, text) for _, stream, text in decoder.feed(data[start : start + size])]
        assert got == expected
        assert decoder.finish() == []


def test_a_line_begun_by_a_process_that_died_is_not_joined_to_the_next_ones() -> None:
    decoder = LogDecoder(is_terminal=False)
    later = b"2026-01-02T03:04:06.000000000Z"
    lines = decoder.feed(frame(1, b"half") + frame(1, b"next\n", later) + frame(1, b"last", later))
    assert [text for *_, text in lines] == ["half", "next"]
    assert [text for *_, text in decoder.finish()] == ["last"]


def test_an_endless_line_is_kept_only_so_far() -> None:
    decoder = LogDecoder(is_terminal=False)
    for _ in range(1000):
        assert decoder.feed(frame(1, b"x" * 16384)) == []
    [(_, _, text)] = decoder.feed(frame(1, b"\n"))
    assert LONGEST_LINE <= len(text) < LONGEST_LINE + 16384


def test_a_terminals_log_is_bare_text() -> None:
    decoder = LogDecoder(is_terminal=True)
    time = b"2026-01-02T03:04:05.678901234Z "
    assert decoder.feed(time + b"one\r\n" + time + b"tw") == [
        (datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "stdout", "one")
    ]
    assert [text for *_, text in decoder.feed(b"o\r\n")] == ["two"]
