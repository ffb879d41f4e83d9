"""Who reaches whom on a running platform: apps, builds, the host; and what an app is allowed to be."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from e2e.conftest import APPS, Service, Trackside, until

METADATA = "169.254.169.254"


@dataclass
class Town:
    """One app, deployed where it may and where it may not be reached: `one` (two replicas) and `two` live together."""

    one: Service
    two: Service
    staging: Service
    stranger: Service
    addresses: list[str]  # of `one` in production

    @property
    def outsiders(self) -> tuple[Service, Service]:
        return self.staging, self.stranger


@pytest.fixture(scope="module")
def town(trackside: Trackside) -> Iterator[Town]:
    mark = uuid4().hex[:8]
    here, there = f"here-{mark}", f"there-{mark}"
    for project, services in ((here, ("one", "two")), (there, ("other",))):
        trackside.cli.run("project", "create", project)
        for service in services:
            trackside.cli.run("service", "create", service, "--project", project)
    trackside.cli.run("environment", "create", "staging", "--project", here)
    one, two = trackside.service(here, "one"), trackside.service(here, "two")
    staging, stranger = replace(one, environment="staging"), trackside.service(there, "other")
    one.configure(numReplicas=2)
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda service: service.up(APPS / "echo"), (one, two, staging, stranger)))
    assert {outcome["status"] for outcome in outcomes} == {"SUCCESS"}
    yield Town(one, two, staging, stranger, addresses_of(one))
    for project in (here, there):
        trackside.cli.run("project", "delete", project, "--yes")


@pytest.fixture(scope="module")
def listener() -> Iterator[int]:
    """Somebody's server on the host, on all addresses; its port. It greets, so that a connection through it is seen."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                connection, _ = server.accept()
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = int(server.getsockname()[1])
        yield port
        ended.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()


def addresses_of(service: Service) -> list[str]:
    """The addresses of the replicas that serve, as the API tells them."""
    return sorted(replica["address"] for replica in service.instance["active_deployment"]["replicas"])


def resolved(service: Service, name: str) -> list[str]:
    """What an app gets for a name."""
    found: list[str] = service.get(f"/resolve?name={name}").json()
    return found


def connected(service: Service, host: str, port: int) -> bool:
    """Whether an app gets a connection."""
    said = service.get(f"/connect?host={host}&port={port}").text
    assert said.startswith(("open", "closed"))
    return said == "open"


def gateway(address: str) -> str:
    """The host's address in the network of an app."""
    return address.rpartition(".")[0] + ".1"


def addresses_of_host() -> list[str]:
    """The addresses by which this machine is known to itself and to others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return [str(probe.getsockname()[0])]


def on_engine(trackside: Trackside, service: Service) -> list[dict[str, Any]]:
    """The containers of a service, as the engine has them."""
    label = f"label=dev.trackside.service-instance={service.instance['id']}"
    ids = trackside.engine("ps", "-q", "--filter", label).split()
    found: list[dict[str, Any]] = json.loads(trackside.engine("inspect", *ids))
    return found


# --- apps among each other ---


def test_a_service_name_leads_to_its_verified_replicas_and_they_answer(town: Town) -> None:
    assert len(town.addresses) == 2
    assert resolved(town.two, "one.railway.internal") == town.addresses
    assert resolved(town.one, "one.railway.internal") == town.addresses
    assert all(connected(town.two, address, 8080) for address in (*town.addresses, "one.railway.internal"))
    assert not connected(town.two, "one.railway.internal", 8081)


def test_another_environment_or_project_neither_resolves_nor_reaches_it(town: Town) -> None:
    assert resolved(town.stranger, "one.railway.internal") == []
    assert resolved(town.stranger, "two.railway.internal") == []
    assert resolved(town.staging, "one.railway.internal") == addresses_of(town.staging)
    for outsider in town.outsiders:
        assert not set(addresses_of(outsider)) & set(town.addresses)
        assert not any(connected(outsider, address, 8080) for address in town.addresses)
        assert not any(connected(town.one, address, 8080) for address in addresses_of(outsider))


def test_a_replica_that_is_not_verified_is_not_answered_for(town: Town) -> None:
    two = town.two
    two.configure(healthcheckPath="/health", healthcheckTimeout=60)
    before = resolved(town.one, "two.railway.internal")
    two.set(HEALTHY_AFTER="1000")
    two.cli.run("up", str(APPS / "echo"), "--detach", *two.scope)
    arriving = until(lambda: newest_addresses(two), 60, "a new replica")
    assert arriving != before
    assert resolved(town.one, "two.railway.internal") == before
    two.cli.run("cancel", *two.scope)
    two.cli.run("variables", "delete", "HEALTHY_AFTER", "--skip-deploy", *two.scope)
    until(lambda: two.deployments()[0]["ended_at"], 30, "cancelled")
    assert resolved(town.one, "two.railway.internal") == before


def newest_addresses(service: Service) -> list[str]:
    latest = service.deployments()[0]
    return sorted(replica["address"] for replica in latest["replicas"]) if latest["status"] == "DEPLOYING" else []


def test_a_redeploy_moves_the_name_to_the_new_replicas(town: Town) -> None:
    assert town.stranger.command("redeploy")["status"] == "SUCCESS"
    fresh = addresses_of(town.stranger)
    until(lambda: resolved(town.stranger, "other.railway.internal") == fresh, 15, "the name leads to the new replica")


# --- the host and beyond ---


def test_no_port_of_the_host_is_reached_from_an_app(town: Town, trackside: Trackside, listener: int) -> None:
    ports = (listener, trackside.edge_port, int(trackside.status["api_url"].rsplit(":", 1)[1]))
    for port in ports:
        socket.create_connection(("127.0.0.1", port), 5).close()
    gateways = {gateway(address) for service in (town.one, *town.outsiders) for address in addresses_of(service)}
    hosts = (*sorted(gateways), *addresses_of_host())
    tried = [(host, port) for host in hosts for port in ports]
    with ThreadPoolExecutor(8) as pool:
        open_ones = [
            pair
            for pair, is_open in zip(tried, pool.map(lambda p: connected(town.one, *p), tried), strict=True)
            if is_open
        ]
    assert open_ones == []


def test_only_its_own_resolver_answers_an_app(town: Town) -> None:
    assert connected(town.one, gateway(town.addresses[0]), 53)
    for outsider in town.outsiders:
        assert not connected(town.one, gateway(addresses_of(outsider)[0]), 53)


def test_the_address_of_cloud_metadata_is_not_reached(town: Town) -> None:
    assert not connected(town.one, METADATA, 80)


def test_outside_names_resolve(town: Town) -> None:
    name = "deb.debian.org"
    try:
        expected = bool(socket.getaddrinfo(name, None))
    except OSError:
        expected = False
    assert bool(resolved(town.one, name)) is expected
    assert resolved(town.one, "no-such-name.invalid") == []


# --- builds ---


def test_a_build_step_reaches_neither_the_host_nor_an_app(
    town: Town, trackside: Trackside, listener: int, tmp_path: Path
) -> None:
    settings = json.loads((trackside.home / "settings.json").read_text())
    bridge = gateway(settings["build_network"].partition("/")[0])
    api_port = int(trackside.status["api_url"].rsplit(":", 1)[1])
    hosts = (bridge, gateway(town.addresses[0]), *addresses_of_host())
    targets = [(host, port) for host in hosts for port in (listener, trackside.edge_port, api_port)]
    targets += [(address, 8080) for address in town.addresses] + [(METADATA, 80)]
    control = (bridge, 53)  # the resolver of builds: shows that the way of asking works
    # The last step fails: the log is all that is wanted of this build. The number keeps it out of the cache.
    (tmp_path / "Dockerfile").write_text(
        f"FROM debian:bookworm-slim\nENV RUN={uuid4()}\nRUN {' & '.join(map(attempt, (*targets, control)))} & wait; exit 3\n"
    )
    builder = trackside.service(town.stranger.project, "builder")
    assert builder.up(tmp_path, ok=False)["status"] == "FAILED"
    said = [line.split()[1:] for line in builder.logs("--build").splitlines()]
    tried = {words[1]: words[0] for words in said if len(words) == 2 and words[0] in ("OPEN", "closed")}
    assert tried.pop("{}:{}".format(*control)) == "OPEN"
    assert tried == {f"{host}:{port}": "closed" for host, port in targets}


def test_what_a_dockerfile_fetches_comes_neither_from_the_host_nor_from_an_app(
    town: Town, trackside: Trackside, tmp_path: Path
) -> None:
    builder = trackside.service(town.stranger.project, "fetcher")
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", *addresses_of_host(), town.addresses[0]):
            place = f"{host}:{port if host not in town.addresses else 8080}"
            (tmp_path / "Dockerfile").write_text(f"FROM debian:bookworm-slim\nADD http://{place}/{uuid4()} /got\n")
            outcome = builder.up(tmp_path, ok=False)
            assert (outcome["status"], place in outcome["reason"]) == ("FAILED", True), outcome
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def attempt(target: tuple[str, int]) -> str:
    """A shell command that says whether it gets a connection."""
    place = "{}/{}".format(*target)
    name = "{}:{}".format(*target)
    return f"(timeout 3 bash -c '</dev/tcp/{place}' 2>/dev/null && echo OPEN {name} || echo closed {name})"


# --- what an app is ---


def test_nothing_of_an_app_listens_on_the_host(town: Town, trackside: Trackside) -> None:
    own_network = Path("/proc/self/ns/net").stat().st_ino
    for container in on_engine(trackside, town.one):
        assert container["HostConfig"]["PortBindings"] == {}
        assert not container["HostConfig"]["PublishAllPorts"]
        assert not any(container["NetworkSettings"]["Ports"].values())
        assert Path(f"/proc/{container['State']['Pid']}/ns/net").stat().st_ino != own_network
        (network,) = container["NetworkSettings"]["Networks"].values()
        assert ip_address(network["IPAddress"]).is_private
    assert "->" not in trackside.engine("ps", "--format", "{{.Ports}}"), "a port of the host leads to a container"


def test_an_app_runs_without_privileges_as_a_user_of_its_own(town: Town) -> None:
    status = file_of(town.one, "/proc/self/status")
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    assert set(fields["Uid"]) == set(fields["Gid"]) == {"1000"}
    assert fields["NoNewPrivs"] == ["1"]
    assert int(fields["CapEff"][0], 16) == 0
    forbidden = {"SYS_ADMIN": 21, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_PTRACE": 19, "SYS_MODULE": 16, "MKNOD": 27}
    bounding = int(fields["CapBnd"][0], 16)
    assert [name for name, bit in forbidden.items() if bounding >> bit & 1] == []
    assert fields["Seccomp"] == ["2"]


def test_an_app_is_limited_in_memory_processes_and_log(town: Town, trackside: Trackside) -> None:
    for container in on_engine(trackside, town.one):
        host = container["HostConfig"]
        assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (1 << 30, 1 << 30, 1024)
        assert 0 < host["NanoCpus"] <= 2_000_000_000
        log = host["LogConfig"]["Config"]
        assert 0 < int(log["max-size"]) * int(log["max-file"]) <= 64 << 20
        group = group_of(int(container["State"]["Pid"]))
        assert group("memory", "memory.limit_in_bytes", "memory.max") == str(1 << 30)
        assert group("pids", "pids.max", "pids.max") == "1024"


def group_of(pid: int) -> Any:
    """Reads a limit of a process from the kernel: `group(controller, name of old, name of new)`."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    paths = {controller: path for _, controllers, path in lines for controller in controllers.split(",")}

    def read(controller: str, old: str, new: str) -> str:
        if controller in paths:
            return Path(f"/sys/fs/cgroup/{controller}{paths[controller]}/{old}").read_text().strip()
        return Path(f"/sys/fs/cgroup{paths['']}/{new}").read_text().strip()

    return read


def file_of(service: Service, path: str) -> str:
    """A file as the app sees it."""
    return service.get(f"/file?path={path}").text


def test_a_version_that_needs_more_memory_than_its_limit_is_told_so(echo: Service) -> None:
    hog = "python3 -c 'import time; kept = bytearray(256 << 20); time.sleep(1000)'"
    echo.configure(limitOverride={"containers": {"memoryBytes": 64 << 20}}, startCommand=hog)
    outcome = echo.up(APPS / "echo", ok=False)
    assert outcome["status"] == "FAILED"
    assert "memory limit of 64 MiB" in outcome["reason"]
    assert echo.get("/").text == "1"
