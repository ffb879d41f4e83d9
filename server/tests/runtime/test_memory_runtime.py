"""The in-memory runtime keeps the port's contract, and can be moved by hand."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from uuid import uuid4

import pytest

from contracts.runtime import RuntimeContract
from contracts.workloads import App, MakeApp, a_workload, see, until_state
from trackside.adapters.memory.runtime import Behaviour, MemoryRuntime
from trackside.rooms.deployments.errors import RuntimeUnavailable
from trackside.rooms.deployments.model import RestartPolicy, SeenState


@pytest.fixture
async def runtime() -> AsyncIterator[MemoryRuntime]:
    memory = MemoryRuntime()
    yield memory
    await memory.close()


class TestMemoryRuntime(RuntimeContract):
    @pytest.fixture
    def app(self, runtime: MemoryRuntime) -> MakeApp:
        def make(behaviour: Behaviour) -> App:
            image_id = f"sha256:{uuid4().hex}"
            runtime.behave(image_id, behaviour)
            return App(image_id)

        return make


async def test_a_crash_by_hand_follows_the_restart_policy(runtime: MemoryRuntime, subnet: IPv4Network) -> None:
    workload = a_workload(App("sha256:app"), subnet, restart=RestartPolicy.ON_FAILURE, max_restarts=1)
    await runtime.start(workload)
    runtime.crash(workload.replica_id, 137, is_out_of_memory=True)
    seen = await see(runtime, workload)
    assert seen
    assert (seen.state, seen.exit_code, seen.is_out_of_memory) == (SeenState.RESTARTING, 137, True)
    await until_state(runtime, workload, SeenState.RUNNING)
    runtime.crash(workload.replica_id)
    assert (await until_state(runtime, workload, SeenState.EXITED)).restarts == 1


async def test_while_the_engine_is_down_verbs_are_unavailable_and_containers_run_on(
    runtime: MemoryRuntime, subnet: IPv4Network
) -> None:
    workload = a_workload(App("sha256:app"), subnet)
    await runtime.start(workload)
    runtime.go_down()
    with pytest.raises(RuntimeUnavailable):
        await runtime.observe_all()
    runtime.come_up()
    assert (await until_state(runtime, workload, SeenState.RUNNING)).restarts == 0


async def test_the_guard_is_asked_before_each_verb() -> None:
    def guard() -> None:
        raise AssertionError("inside a transaction")

    with pytest.raises(AssertionError, match="inside a transaction"):
        await MemoryRuntime(guard).observe_all()
