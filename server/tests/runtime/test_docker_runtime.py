"""The runtime on a real Docker Engine keeps the port's contract, and what is Docker's own is right too."""

import asyncio
import base64
import json
import shlex
import signal
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any
from uuid import uuid4

import pytest

from contracts.runtime import RuntimeContract
from contracts.workloads import App, MakeApp, a_workload, log, see, until, until_logged, until_state
from trackside.adapters.docker import manifests
from trackside.adapters.docker.connection import Engine
from trackside.adapters.docker.manifests import DockerOptions
from trackside.adapters.docker.runtime import DockerRuntime
from trackside.adapters.memory.runtime import Behaviour
from trackside.rooms.deployments.errors import RuntimeRefused, RuntimeUnavailable
from trackside.rooms.deployments.model import Limits, Network, RestartPolicy, SeenState


def script(behaviour: Behaviour) -> str:
    """The shell script that behaves so. The first process of a container gets only the signals that it traps."""
    say = [f"echo {shlex.quote(line)}" for line in behaviour.last_words]
    leave = "" if behaviour.stop_after is None else "; ".join([*say, f"exit {behaviour.stop_code}"])
    serve = [f"httpd -p {port}" for port in behaviour.listening]
    serve += [f"httpd -p 127.0.0.1:{port}" for port in behaviour.listening_loopback]
    write = [f"echo {shlex.quote(line)}" for line in behaviour.output]
    write += [f"echo {shlex.quote(line)} >&2" for line in behaviour.errors]
    end = ["while :; do sleep 60 & wait; done"]
    if behaviour.exit_code is not None:
        end = [f"sleep {behaviour.exit_after}", f"exit {behaviour.exit_code}"]
    return "\n".join([f"trap {shlex.quote(leave)} TERM", *serve, *write, *end])


@pytest.fixture
def runtime(docker_runtime: DockerRuntime) -> DockerRuntime:
    return docker_runtime


@pytest.fixture
def app(image: str) -> MakeApp:
    def make(behaviour: Behaviour) -> App:
        if behaviour.refusal:
            return App(image, ("no-such-program",))
        return App(image, ("sh", "-c", script(behaviour)))

    return make


class TestDockerRuntime(RuntimeContract):
    pass


async def inspection(runtime: DockerRuntime, url: str, workload: Any) -> dict[str, Any]:
    engine = Engine(url)
    try:
        containers = await engine.containers.list(
            all=True, filters=json.dumps({"label": [f"{manifests.LABEL}replica={workload.replica_id}"]})
        )
        return await containers[0].show()
    finally:
        await engine.close()


async def run_to_end(runtime: DockerRuntime, workload: Any) -> list[str]:
    """Start it, wait for its end, and give what it wrote."""
    await runtime.ensure_network(workload.network)
    await runtime.start(workload)
    await until_state(runtime, workload, SeenState.EXITED)
    return [line for _, line in await log(runtime, workload.replica_id)]


AWKWARD = {
    "EMPTY": "",
    "QUOTES": "a \"b\" 'c' `d`",
    "DOLLARS": "$HOME ${HOME} $$ $(id)",
    "LINES": "one\ntwo\r\n\tthree\n",
    "SNOW": "☃ \U0001f600",
    "EQUALS": "=a=b=",
    "BACKSLASH": "\\n \\\\",
    "LONG": "x" * (64 << 10),
}


async def test_variables_arrive_byte_for_byte(runtime: DockerRuntime, image: str, subnet: IPv4Network) -> None:
    app = App(image, ("sh", "-c", "base64 /proc/self/environ | tr -d '\\n'; echo"))
    workload = a_workload(app, subnet, variables=AWKWARD)
    [text] = await run_to_end(runtime, workload)
    seen = dict(pair.split("=", 1) for pair in base64.b64decode(text).decode().split("\0") if pair)
    assert {name: seen.get(name) for name in AWKWARD} == AWKWARD


@pytest.mark.parametrize("variables", [{"": "x"}, {"A=B": "x"}, {"A": "\0"}, {"A": "x" * (128 << 10)}])
async def test_variables_no_process_can_have_are_refused(
    runtime: DockerRuntime, image: str, subnet: IPv4Network, variables: dict[str, str]
) -> None:
    with pytest.raises(RuntimeRefused):
        await runtime.start(a_workload(App(image, ("true",)), subnet, variables=variables))


async def test_a_missing_image_is_refused(runtime: DockerRuntime, subnet: IPv4Network) -> None:
    with pytest.raises(RuntimeRefused, match="is not on the engine"):
        await runtime.start(a_workload(App("sha256:" + "0" * 64, ("true",)), subnet))


async def test_an_app_that_takes_more_memory_than_it_may_is_seen_out_of_memory(
    runtime: DockerRuntime, image: str, subnet: IPv4Network
) -> None:
    hungry = App(image, ("sh", "-c", "exec tail /dev/zero"))
    workload = a_workload(hungry, subnet, limits=Limits(cpu=1, memory_bytes=16 << 20, pids=16))
    await runtime.ensure_network(workload.network)
    await runtime.start(workload)
    seen = await until_state(runtime, workload, SeenState.EXITED)
    assert (seen.exit_code, seen.is_out_of_memory) == (137, True)


async def test_nothing_is_published_and_nothing_can_be_gained(
    runtime: DockerRuntime, image: str, subnet: IPv4Network, own_engine: Any
) -> None:
    workload = a_workload(App(image, ("sh", "-c", "grep -E 'NoNewPrivs|CapBnd|CapEff' /proc/self/status")), subnet)
    lines = await run_to_end(runtime, workload)
    fields = dict(line.split(":\t") for line in lines)
    expected = sum(1 << bit for bit in (0, 1, 3, 5, 6, 7, 10))
    assert fields == {"NoNewPrivs": "1", "CapEff": f"{expected:016x}", "CapBnd": f"{expected:016x}"}
    seen = await inspection(runtime, own_engine.url, workload)
    assert not any((seen["NetworkSettings"]["Ports"] or {}).values())
    assert not seen["HostConfig"]["PortBindings"]
    assert not seen["HostConfig"]["Privileged"]


async def test_limits_hold_inside(runtime: DockerRuntime, image: str, subnet: IPv4Network) -> None:
    show = "cat /sys/fs/cgroup/pids/pids.max; cat /sys/fs/cgroup/memory/memory.limit_in_bytes; df -P /dev/shm | tail -1"
    show_v2 = "cat /sys/fs/cgroup/pids.max; cat /sys/fs/cgroup/memory.max; df -P /dev/shm | tail -1"
    command = f"if [ -e /sys/fs/cgroup/pids.max ]; then {show_v2}; else {show}; fi"
    limits = Limits(cpu=64, memory_bytes=48 << 20, pids=33, shm_bytes=8 << 20)  # more cores than there are: all of them
    lines = await run_to_end(runtime, a_workload(App(image, ("sh", "-c", command)), subnet, limits=limits))
    assert lines[:2] == ["33", str(48 << 20)]
    assert lines[2].split()[1] == str(8 << 10)


async def test_an_images_own_stop_signal_reaches_the_app_and_ends_it_for_good(
    runtime: DockerRuntime, make_image: Callable[[dict[str, Any]], str], subnet: IPv4Network
) -> None:
    image = await asyncio.to_thread(make_image, {"StopSignal": "SIGUSR1"})
    command = "trap 'echo got USR1; exit 1' USR1; echo up; while :; do sleep 60 & wait; done"
    workload = a_workload(App(image, ("sh", "-c", command)), subnet, restart=RestartPolicy.ALWAYS)
    await runtime.ensure_network(workload.network)
    await runtime.start(workload)
    await until_logged(runtime, workload, "up")
    await runtime.terminate(workload.replica_id)
    seen = await until_state(runtime, workload, SeenState.EXITED)
    assert (seen.exit_code, seen.restarts) == (1, 0)


async def test_arguments_follow_an_images_entry_point_or_replace_it(
    runtime: DockerRuntime, make_image: Callable[[dict[str, Any]], str], subnet: IPv4Network
) -> None:
    configuration = {"Entrypoint": ["echo", "entry"], "Cmd": ["default"], "User": "1000"}
    image = await asyncio.to_thread(make_image, configuration)
    same = {"environment_id": uuid4()}
    assert await run_to_end(runtime, a_workload(App(image, None), subnet, **same)) == ["entry default"]
    following = a_workload(App(image, ("mine", "$HOME")), subnet, is_entrypoint_replaced=False, **same)
    assert await run_to_end(runtime, following) == ["entry mine $HOME"]
    replacing = a_workload(App(image, ("id", "-u")), subnet, **same)
    assert await run_to_end(runtime, replacing) == ["1000"]
    other = a_workload(App(image, ("id", "-u")), subnet, user="1234:1234", **same)
    assert await run_to_end(runtime, other) == ["1234"]


async def test_long_lines_arrive_whole_and_broken_text_is_replaced(
    runtime: DockerRuntime, image: str, subnet: IPv4Network
) -> None:
    command = "head -c 50000 /dev/zero | tr '\\0' x; echo; printf 'a\\377b\\n'; printf 'no end'"
    lines = await run_to_end(runtime, a_workload(App(image, ("sh", "-c", command)), subnet))
    assert lines == ["x" * 50000, "a\ufffdb", "no end"]


async def test_a_line_without_an_end_does_not_fill_the_memory(
    runtime: DockerRuntime, image: str, subnet: IPv4Network
) -> None:
    command = "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo after"
    first, second = await run_to_end(runtime, a_workload(App(image, ("sh", "-c", command)), subnet))
    assert 64 << 10 < len(first) < 200_000
    assert second == "after"


async def test_a_container_made_but_not_started_is_started(
    runtime: DockerRuntime, image: str, subnet: IPv4Network, own_engine: Any
) -> None:
    workload = a_workload(App(image, ("sh", "-c", "echo up")), subnet)
    await runtime.ensure_network(workload.network)
    seen = (await runtime.networks())[0]
    assert seen == workload.network
    installation = await installation_of(own_engine, workload.network)
    body = manifests.container_body(workload, installation, DockerOptions(), 1)
    engine = Engine(own_engine.url)
    await engine.containers.create(body, name=manifests.container_name(installation, workload.replica_id))
    await engine.close()
    created = await see(runtime, workload)
    assert created
    assert created.state is SeenState.CREATED
    assert await run_to_end(runtime, workload) == ["up"]


async def installation_of(own_engine: Any, network: Network) -> str:
    engine = Engine(own_engine.url)
    try:
        wanted = {"label": [f"{manifests.LABEL}environment={network.environment_id}"]}
        [found] = await engine.networks.list(filters=wanted)
        return found["Labels"][f"{manifests.LABEL}installation"]
    finally:
        await engine.close()


async def test_a_start_makes_the_network_that_is_missing(
    runtime: DockerRuntime, image: str, subnet: IPv4Network
) -> None:
    workload = a_workload(App(image, ("true",)), subnet)
    await runtime.start(workload)
    await until_state(runtime, workload, SeenState.EXITED)
    assert list(await runtime.networks()) == [workload.network]


async def test_an_address_still_in_use_can_be_tried_again(
    runtime: DockerRuntime, app: MakeApp, subnet: IPv4Network
) -> None:
    first = a_workload(app(Behaviour()), subnet)
    await runtime.start(first)
    second = a_workload(
        app(Behaviour()), subnet, environment_id=first.environment_id, network=first.network, address=first.address
    )
    with pytest.raises(RuntimeUnavailable, match="in use"):
        await runtime.start(second)
    await runtime.remove(first.replica_id)
    await runtime.start(second)
    assert (await until_state(runtime, second, SeenState.RUNNING)).address == first.address


async def test_a_foreign_container_is_neither_seen_nor_touched(
    runtime: DockerRuntime, app: MakeApp, subnet: IPv4Network, own_engine: Any
) -> None:
    other = DockerRuntime(own_engine.url, uuid4().hex[:8], DockerOptions(interface_prefix=f"t{uuid4().hex[:4]}"))
    workload = a_workload(app(Behaviour()), subnet)
    try:
        await other.ensure_network(workload.network)
        await other.start(workload)
        assert list(await runtime.observe_all()) == []
        assert list(await runtime.networks()) == []
        await runtime.terminate(workload.replica_id)
        await runtime.remove(workload.replica_id)
        await runtime.remove_network(workload.environment_id)
        assert (await until_state(other, workload, SeenState.RUNNING)).restarts == 0
    finally:
        await other.remove(workload.replica_id)
        await other.remove_network(workload.environment_id)
        await other.close()


async def test_an_engine_that_is_not_there_is_unavailable() -> None:
    runtime = DockerRuntime("unix:///nonexistent/docker.sock", "abcd1234")
    with pytest.raises(RuntimeUnavailable, match="can't be reached"):
        await runtime.observe_all()
    with pytest.raises(RuntimeUnavailable, match="can't be reached"):
        await anext(runtime.watch())
    with pytest.raises(RuntimeUnavailable, match="can't be reached"):
        await anext(runtime.logs(uuid4(), None, follow=True))
    await runtime.close()


@pytest.mark.timeout(120)
async def test_containers_and_what_was_said_to_them_survive_the_engines_death(
    runtime: DockerRuntime, app: MakeApp, subnet: IPv4Network, own_engine: Any
) -> None:
    environment_id = uuid4()
    policy = {"restart": RestartPolicy.ON_FAILURE, "max_restarts": 9, "environment_id": environment_id}
    lasting = a_workload(app(Behaviour(output=("up",))), subnet, **policy)
    leaving = a_workload(app(Behaviour(output=("up",), stop_code=1)), subnet, **policy)
    for workload in (lasting, leaving):
        await runtime.ensure_network(workload.network)
        await runtime.start(workload)
        await until_logged(runtime, workload, "up")
    await runtime.terminate(leaving.replica_id)
    ended = await until_state(runtime, leaving, SeenState.EXITED)
    before = await see(runtime, lasting)

    async def watch() -> None:
        async for _ in runtime.watch():
            pass

    async def follow() -> None:
        async for _ in runtime.logs(lasting.replica_id, None, follow=True):
            pass

    watching, following = asyncio.create_task(watch()), asyncio.create_task(follow())
    await runtime.networks()
    await asyncio.to_thread(own_engine.stop, signal.SIGKILL)
    try:
        async with asyncio.timeout(20):
            watched, followed = await asyncio.gather(watching, following, return_exceptions=True)
        # Who watched is told by the end of the stream; who was just about to, that nobody is there.
        assert watched is None or isinstance(watched, RuntimeUnavailable)
        assert isinstance(followed, RuntimeUnavailable)
        with pytest.raises(RuntimeUnavailable):
            await runtime.observe_all()
    finally:
        await asyncio.to_thread(own_engine.launch)  # other tests need it, however this one ends
    seen = await see(runtime, lasting)
    assert seen
    assert before
    assert (seen.state, seen.started_at) == (SeenState.RUNNING, before.started_at)
    assert await see(runtime, leaving) == ended


async def test_twenty_replicas_start_beside_each_other(
    runtime: DockerRuntime, app: MakeApp, subnet: IPv4Network
) -> None:
    environment_id, instance_id = uuid4(), uuid4()
    ids = {"environment_id": environment_id, "service_instance_id": instance_id}
    workloads = [a_workload(app(Behaviour()), subnet, address=subnet[20 + n], **ids) for n in range(20)]
    await runtime.ensure_network(workloads[0].network)
    await asyncio.gather(*(runtime.start(workload) for workload in workloads))

    async def all_run() -> bool:
        seen = await runtime.observe(instance_id)
        return len(seen) == 20 and all(replica.state is SeenState.RUNNING for replica in seen)

    await until(all_run, "twenty running replicas")
