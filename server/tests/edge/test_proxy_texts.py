"""The pure part of the proxy: configuration, pages, snapshots, and HAProxy's answers read."""

import json
import resource
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from contracts.proxy import a_backend, a_route
from trackside.adapters.proxy import config, pages, snapshot
from trackside.adapters.proxy.access import read_line
from trackside.adapters.proxy.access_log import (
    CHUNK,
    FLOOD,
    FLOOD_POLL,
    LINES_AT_ONCE,
    POLL_SECONDS,
    SHORTEST_POLL,
    complete_lines,
    next_pause,
)
from trackside.adapters.proxy.files import ProxyFiles
from trackside.adapters.proxy.launch import SPARE_DESCRIPTORS, arguments, command, fitting, options_of
from trackside.adapters.proxy.options import HAProxyOptions
from trackside.adapters.proxy.runtime import Processes, parse_map, parse_processes
from trackside.kit.ids import new_id
from trackside.rooms.networking.errors import ProxyUnavailable
from trackside.rooms.networking.model import EdgeState, Name, Page, Probe, ProbeKind, Protocol, Server
from trackside.rooms.networking.ports import Served

OPTIONS = HAProxyOptions(Path("/var/lib/edge"), Path("/run/edge"))


def a_server(last: int, *, is_leaving: bool = False) -> Server:
    return Server(new_id(), IPv4Address("10.0.0.0") + last, 8080, is_leaving)


def a_served() -> Served:
    well, ill, leaves = a_server(1), a_server(2), a_server(3, is_leaving=True)
    backend = replace(a_backend(well, ill, leaves, slot=2), probe=Probe(ProbeKind.HTTP, "/health"))
    network = IPv4Network("10.0.0.0/24")
    state = EdgeState(
        (backend, a_backend(slot=0)),
        (a_route(backend), a_route(a_backend(), "b.localhost", target=Page.CRASHED)),
        (Name("web", network, (well.address,)),),
        (network,),
    )
    return Served(state, {2: frozenset({well.replica_id, leaves.replica_id}), 0: frozenset()})


def test_a_cold_start_serves_from_the_configuration_alone() -> None:
    served = a_served()
    text = config.config(OPTIONS, served, 4)
    well, ill, leaves = served.state.backends[0].servers
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith("    server ")}
    assert set(lines) == {str(server.replica_id) for server in (well, ill, leaves)}
    assert [line.endswith(" disabled") for line in lines.values()] == [False, True, True]
    assert [f"backend slot-{slot:04d}" in text for slot in range(5)] == [True] * 4 + [False]


def test_the_maps_lead_from_hosts_to_instances_to_slots_and_pages() -> None:
    served = a_served()
    texts = config.files(OPTIONS, served, 4)
    first, second = served.state.routes
    assert f"app.localhost {first.service_instance_id}\n" in texts["maps/hosts.map"]
    assert f"{first.service_instance_id} slot-0002\n" in texts["maps/targets.map"]
    assert f"{second.service_instance_id} page-crashed\n" in texts["maps/targets.map"]


def test_an_http2_app_is_spoken_to_in_http2() -> None:
    assert "proto h2" in config.entry(a_server(1), Protocol.H2C).settings
    assert "proto" not in config.entry(a_server(1), Protocol.HTTP1).settings


@pytest.mark.parametrize("host", ["", "a b", "a\nb", "a;b", "-a", "ä.localhost", "a" * 300])
def test_what_can_be_no_host_is_refused(host: str) -> None:
    with pytest.raises(ProxyUnavailable):
        config.hosts_map([a_route(a_backend(), host)])


def test_a_snapshot_is_read_back_as_it_was() -> None:
    served = a_served()
    assert snapshot.from_text(snapshot.to_text(served)) == served


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 5}', '{"state": {"networks": ["x"]}}'])
def test_a_damaged_snapshot_is_none(tmp_path: Path, text: str) -> None:
    options = replace(OPTIONS, directory=tmp_path)
    options.snapshot.write_text(text)
    assert ProxyFiles(options).served() is None


def test_slots_that_were_grown_are_remembered(tmp_path: Path) -> None:
    options = replace(OPTIONS, directory=tmp_path / "haproxy", run_directory=tmp_path / "run", slots=10)
    files = ProxyFiles(options)
    files.prepare()
    files.write(Served(), 40)
    assert ProxyFiles(options).slots() == 40
    assert ProxyFiles(replace(options, slots=80)).slots() == 80
    options.slots_file.write_text("nonsense")
    assert ProxyFiles(options).slots() == 10


def test_every_page_is_valid_in_both_languages() -> None:
    for page in (*pages.named().values(), *pages.FAILURES):
        error = json.loads(pages.json(page))["error"]
        assert {"code", "kind", "message", "hint", "request_id"} == set(error)
        assert "\n" not in pages.html(page)
        assert "%" not in pages.html(page).replace(pages.REQUEST_ID, "").replace(pages.HOST, "")


def test_the_process_asks_for_no_more_connections_than_it_can_have() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fitted = fitting(replace(OPTIONS, connections=10_000_000, user="nobody-of-this-name"))
    assert hard == resource.RLIM_INFINITY or fitted.connections * 2 + SPARE_DESCRIPTORS <= hard
    assert fitted.user == ""
    assert command(OPTIONS)[-2:] == ["-f", "/var/lib/edge/haproxy.cfg"]


def test_the_masters_list_of_processes_is_read() -> None:
    text = (
        "#<PID>          <type>          <reloads>       <uptime>        <version>\n"
        "100             master          2 [failed: 1]   0d00h00m28s     2.6.12\n"
        "# workers\n"
        "103             worker          0               0d00h00m28s     2.6.12\n"
        "# old workers\n"
        "101             worker          2               0d00h00m28s     2.6.12\n"
        "102             worker          1               0d00h00m28s     2.6.12\n"
        "# programs\n"
    )
    assert parse_processes(text) == Processes(103, (101, 102), 1)
    assert parse_processes("") == Processes(None, (), 0)


def test_a_maps_listing_is_read() -> None:
    assert parse_map("0x55 a.localhost one\n0x56 b two words\n\nUnknown\n") == {"a.localhost": "one", "b": "two words"}


def test_only_complete_lines_are_taken() -> None:
    assert complete_lines(b"one\ntwo\nthr") == ([b"one", b"two"], 8)
    assert complete_lines(b"one") == ([], 0)
    assert complete_lines(b"x" * CHUNK) == ([], CHUNK)


def test_the_more_lines_come_the_more_often_few_are_taken_and_in_a_flood_seldom_many() -> None:
    assert next_pause(0) == next_pause(30) == POLL_SECONDS
    assert [round(rate * next_pause(rate)) for rate in (1_000, 5_000, 10_000)] == [LINES_AT_ONCE] * 3
    assert next_pause(FLOOD - 1) == SHORTEST_POLL
    assert next_pause(FLOOD + 1) == FLOOD_POLL


@pytest.mark.parametrize("line", [b"", b"{}", b"Proxy edge stopped.", b"\t" * 13, b"1\t" * 13 + b"{|}"])
def test_a_line_that_is_no_request_is_none(line: bytes) -> None:
    assert read_line(line) is None


def test_haproxy_is_started_with_the_options_that_were_meant(tmp_path: Path) -> None:
    meant = HAProxyOptions(tmp_path / 'état "of" it', tmp_path / "run", host="::1", port=81, user="haproxy")
    assert options_of(arguments(meant)[-1]) == meant
