"""What every runtime does, whatever it runs containers on: the suite of the port `Runtime`.

A subclass gives the fixtures `runtime`, `subnet` (of its own for each test) and `app`, which turns a `Behaviour` into an
image and a command that behave so.
"""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Network
from uuid import UUID, uuid4

import pytest

from contracts.workloads import SECONDS, MakeApp, a_workload, log, see, until, until_logged, until_state
from trackside.adapters.memory.runtime import Behaviour
from trackside.rooms.deployments.errors import RuntimeRefused, RuntimeUnavailable
from trackside.rooms.deployments.model import (
    Network,
    RestartPolicy,
    Role,
    SeenState,
    Workload,
)
from trackside.rooms.deployments.ports import Runtime


class RuntimeContract:
    async def launch(self, runtime: Runtime, workload: Workload) -> Workload:
        await runtime.ensure_network(workload.network)
        await runtime.start(workload)
        return workload

    # --- starting ---

    async def test_a_started_container_is_seen_running_with_its_ids_and_address(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = await self.launch(runtime, a_workload(app(Behaviour()), subnet))
        seen = await until_state(runtime, workload, SeenState.RUNNING)
        assert (seen.deployment_id, seen.workspace_id) == (workload.deployment_id, workload.workspace_id)
        assert (seen.role, seen.address) == (Role.REPLICA, workload.address)
        assert (seen.exit_code, seen.restarts, seen.is_out_of_memory) == (None, 0, False)
        assert seen.started_at is not None

    async def test_starting_again_leaves_a_container_as_it_is(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = await self.launch(runtime, a_workload(app(Behaviour()), subnet))
        before = await until_state(runtime, workload, SeenState.RUNNING)
        await runtime.start(workload)
        assert await see(runtime, workload) == before

    async def test_a_container_that_has_ended_is_not_started_again(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = await self.launch(runtime, a_workload(app(Behaviour(exit_code=0)), subnet))
        before = await until_state(runtime, workload, SeenState.EXITED)
        await runtime.start(workload)
        assert await see(runtime, workload) == before

    async def test_many_who_start_the_same_replica_start_it_once(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = a_workload(app(Behaviour(output=("up",))), subnet)
        await asyncio.gather(*(self.launch(runtime, workload) for _ in range(8)))
        await until_logged(runtime, workload, "up")
        assert len(await runtime.observe(workload.service_instance_id)) == 1
        assert await log(runtime, workload.replica_id) == [("stdout", "up")]

    async def test_what_can_never_start_is_refused_with_a_sentence(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = a_workload(app(Behaviour(refusal="no such program")), subnet)
        for _ in range(2):
            with pytest.raises(RuntimeRefused) as refused:
                await self.launch(runtime, workload)
            assert refused.value.sentence.endswith(".") or "no such program" in refused.value.sentence
        seen = await see(runtime, workload)
        assert seen is None or seen.state is SeenState.CREATED

    # --- ending by itself, and restart policies ---

    async def test_the_exit_code_is_seen(self, runtime: Runtime, app: MakeApp, subnet: IPv4Network) -> None:
        workload = await self.launch(runtime, a_workload(app(Behaviour(exit_code=7)), subnet))
        seen = await until_state(runtime, workload, SeenState.EXITED)
        assert (seen.exit_code, seen.restarts) == (7, 0)

    async def test_on_failure_restarts_as_often_as_allowed_and_no_more(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        crashing = app(Behaviour(exit_code=3))
        workload = a_workload(crashing, subnet, restart=RestartPolicy.ON_FAILURE, max_restarts=2)
        await self.launch(runtime, workload)
        seen = await until_state(runtime, workload, SeenState.EXITED)
        assert (seen.exit_code, seen.restarts) == (3, 2)

    async def test_on_failure_with_no_restarts_allowed_restarts_never(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        crashing = app(Behaviour(exit_code=3))
        workload = a_workload(crashing, subnet, restart=RestartPolicy.ON_FAILURE, max_restarts=0)
        await self.launch(runtime, workload)
        assert (await until_state(runtime, workload, SeenState.EXITED)).restarts == 0

    async def test_on_failure_leaves_a_clean_end_alone(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        ending = app(Behaviour(exit_code=0))
        workload = a_workload(ending, subnet, restart=RestartPolicy.ON_FAILURE, max_restarts=5)
        await self.launch(runtime, workload)
        seen = await until_state(runtime, workload, SeenState.EXITED)
        assert (seen.exit_code, seen.restarts) == (0, 0)

    async def test_always_restarts_a_clean_end_too(self, runtime: Runtime, app: MakeApp, subnet: IPv4Network) -> None:
        workload = a_workload(app(Behaviour(exit_code=0)), subnet, restart=RestartPolicy.ALWAYS)
        await self.launch(runtime, workload)

        async def is_restarted() -> bool:
            seen = await see(runtime, workload)
            return seen is not None and seen.restarts >= 2

        await until(is_restarted, "a second restart")

    async def test_a_pre_deploy_container_runs_once_whatever_the_policy(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        failing = app(Behaviour(exit_code=1))
        workload = a_workload(failing, subnet, restart=RestartPolicy.ALWAYS, role=Role.PRE_DEPLOY)
        await self.launch(runtime, workload)
        seen = await until_state(runtime, workload, SeenState.EXITED)
        assert (seen.role, seen.exit_code, seen.restarts) == (Role.PRE_DEPLOY, 1, 0)

    # --- stopping ---

    @pytest.mark.parametrize("policy", list(RestartPolicy))
    async def test_a_terminated_app_gets_the_signal_itself_and_is_not_restarted(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network, policy: RestartPolicy
    ) -> None:
        behaviour = Behaviour(output=("up",), last_words=("bye",), stop_code=9)
        workload = a_workload(app(behaviour), subnet, restart=policy, max_restarts=10)
        await self.launch(runtime, workload)
        await until_logged(runtime, workload, "up")
        await runtime.terminate(workload.replica_id)
        seen = await until_state(runtime, workload, SeenState.EXITED)
        assert (seen.exit_code, seen.restarts) == (9, 0)
        assert await log(runtime, workload.replica_id) == [("stdout", "up"), ("stdout", "bye")]
        await runtime.terminate(workload.replica_id)

    @pytest.mark.parametrize("policy", [RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE])
    async def test_a_container_terminated_between_two_starts_is_not_started_again(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network, policy: RestartPolicy
    ) -> None:
        workload = a_workload(app(Behaviour(exit_code=1)), subnet, restart=policy, max_restarts=100)
        await self.launch(runtime, workload)

        async def is_waiting_long() -> bool:
            seen = await see(runtime, workload)
            return seen is not None and seen.state is SeenState.RESTARTING and seen.restarts >= 3

        await until(is_waiting_long, "a back-off")
        await runtime.terminate(workload.replica_id)
        seen = await until_state(runtime, workload, SeenState.EXITED)
        await asyncio.sleep(2 * 0.1 * 2**seen.restarts)  # longer than the start it was waiting for
        assert await see(runtime, workload) == seen

    async def test_an_app_that_ignores_the_signal_runs_on_until_it_is_removed(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = a_workload(app(Behaviour(output=("up",), stop_after=None)), subnet)
        await self.launch(runtime, workload)
        await until_logged(runtime, workload, "up")
        await runtime.terminate(workload.replica_id)
        seen = await see(runtime, workload)
        assert seen
        assert seen.state is SeenState.RUNNING
        await runtime.remove(workload.replica_id)
        assert await see(runtime, workload) is None

    async def test_a_restart_keeps_the_container_and_its_address(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        behaviour = Behaviour(output=("up",), last_words=("bye",))
        workload = a_workload(app(behaviour), subnet, restart=RestartPolicy.ON_FAILURE, max_restarts=3)
        await self.launch(runtime, workload)
        await until_logged(runtime, workload, "up")
        before = await see(runtime, workload)
        await runtime.restart(workload.replica_id, 5.0)
        after = await until_state(runtime, workload, SeenState.RUNNING)
        assert before
        assert before.started_at
        assert after.started_at
        assert after.started_at > before.started_at
        assert (after.address, after.restarts) == (workload.address, 0)

    async def test_a_restart_kills_what_does_not_end_in_its_grace(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = a_workload(app(Behaviour(output=("up",), stop_after=None)), subnet)
        await self.launch(runtime, workload)
        await until_logged(runtime, workload, "up")
        await runtime.restart(workload.replica_id, 0.2)
        await until_state(runtime, workload, SeenState.RUNNING)

        async def is_up_twice() -> bool:
            return (await log(runtime, workload.replica_id)).count(("stdout", "up")) == 2

        await until(is_up_twice, "the second start")

    async def test_restarting_what_is_not_there_is_refused(self, runtime: Runtime) -> None:
        with pytest.raises(RuntimeRefused):
            await runtime.restart(uuid4(), 1.0)

    async def test_stopping_and_removing_what_is_not_there_is_no_error(self, runtime: Runtime) -> None:
        await runtime.terminate(uuid4())
        await runtime.remove(uuid4())

    async def test_many_who_remove_the_same_replica_all_see_it_gone(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = await self.launch(runtime, a_workload(app(Behaviour(stop_after=None)), subnet))
        await asyncio.gather(*(runtime.remove(workload.replica_id) for _ in range(4)))
        assert await see(runtime, workload) is None

    # --- networks ---

    async def test_a_network_is_made_once_and_listed(self, runtime: Runtime, subnet: IPv4Network) -> None:
        network = Network(uuid4(), subnet)
        await asyncio.gather(*(runtime.ensure_network(network) for _ in range(4)))
        assert list(await runtime.networks()) == [network]
        await runtime.remove_network(network.environment_id)
        await runtime.remove_network(network.environment_id)
        assert list(await runtime.networks()) == []

    async def test_a_network_stays_while_containers_are_on_it(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = await self.launch(runtime, a_workload(app(Behaviour(exit_code=0)), subnet))
        await until_state(runtime, workload, SeenState.EXITED)  # even a stopped one: it may start again
        with pytest.raises(RuntimeUnavailable):
            await runtime.remove_network(workload.environment_id)
        await runtime.remove(workload.replica_id)
        await runtime.remove_network(workload.environment_id)

    async def test_an_unused_network_moves_to_the_planned_subnet(self, runtime: Runtime, subnet: IPv4Network) -> None:
        lower, upper = subnet.subnets()
        environment_id = uuid4()
        await runtime.ensure_network(Network(environment_id, lower))
        await runtime.ensure_network(Network(environment_id, upper))
        assert list(await runtime.networks()) == [Network(environment_id, upper)]

    async def test_a_used_network_on_another_subnet_is_refused(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        lower, upper = subnet.subnets()
        environment_id = uuid4()
        workload = a_workload(
            app(Behaviour()),
            subnet,
            network=Network(environment_id, lower),
            environment_id=environment_id,
            address=lower[9],
        )
        await self.launch(runtime, workload)
        with pytest.raises(RuntimeRefused, match="Containers are still on"):
            await runtime.ensure_network(Network(environment_id, upper))

    async def test_a_subnet_that_another_network_has_is_refused(self, runtime: Runtime, subnet: IPv4Network) -> None:
        await runtime.ensure_network(Network(uuid4(), subnet))
        with pytest.raises(RuntimeRefused, match="in use"):
            await runtime.ensure_network(Network(uuid4(), subnet))

    # --- seeing ---

    async def test_each_service_instance_sees_its_own_containers(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        silent, environment_id = app(Behaviour()), uuid4()
        one = await self.launch(runtime, a_workload(silent, subnet, environment_id=environment_id))
        other = await self.launch(runtime, a_workload(silent, subnet, environment_id=environment_id))
        assert [r.replica_id for r in await runtime.observe(one.service_instance_id)] == [one.replica_id]
        assert {r.replica_id for r in await runtime.observe_all()} == {one.replica_id, other.replica_id}
        assert list(await runtime.observe(uuid4())) == []

    async def test_the_listing_of_everything_tells_less_of_what_runs_and_all_of_what_has_ended(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        environment_id = uuid4()
        running = a_workload(app(Behaviour(listening=(8080,))), subnet, environment_id=environment_id)
        ended = a_workload(app(Behaviour(exit_code=3)), subnet, environment_id=environment_id)
        for workload in (running, ended):
            await self.launch(runtime, workload)
        up = await until_state(runtime, running, SeenState.RUNNING)
        down = await until_state(runtime, ended, SeenState.EXITED)
        everything = {replica.replica_id: replica for replica in await runtime.observe_all()}
        less = {"restarts": 0, "started_at": None, "listening": (), "listening_loopback": ()}
        assert everything[running.replica_id] == replace(up, **less)
        assert everything[ended.replica_id] == down

    async def test_listening_ports_are_seen_loopback_apart(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        behaviour = Behaviour(listening=(3000, 8080), listening_loopback=(9229,))
        workload = await self.launch(runtime, a_workload(app(behaviour), subnet))

        async def is_listening() -> bool:
            seen = await see(runtime, workload)
            return seen is not None and (seen.listening, seen.listening_loopback) == ((3000, 8080), (9229,))

        await until(is_listening, "listening on all ports")

    async def test_watch_tells_of_starts_and_ends(self, runtime: Runtime, app: MakeApp, subnet: IPv4Network) -> None:
        workload = a_workload(app(Behaviour(output=("up",))), subnet)
        told: list[tuple[UUID, UUID]] = []

        async def watch() -> None:
            async for ids in runtime.watch():
                told.append(ids)

        async def is_told_more(than: int) -> bool:
            return len(told) > than

        watching = asyncio.create_task(watch())
        try:
            await runtime.networks()  # by the time this is answered the watch stands too
            await self.launch(runtime, workload)
            await until(lambda: is_told_more(0), "the news of a start")
            before = len(told)
            await until_logged(runtime, workload, "up")
            await runtime.terminate(workload.replica_id)
            await until(lambda: is_told_more(before), "the news of an end")
        finally:
            watching.cancel()
        assert set(told) == {(workload.workspace_id, workload.service_instance_id)}

    # --- logs ---

    async def test_logs_tell_the_streams_apart_each_in_ascending_time(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        behaviour = Behaviour(output=("one", "zwei ☃", ""), errors=("oh",), exit_code=0)
        workload = await self.launch(runtime, a_workload(app(behaviour), subnet))
        await until_state(runtime, workload, SeenState.EXITED)
        lines = [line async for line in runtime.logs(workload.replica_id, None, follow=False)]
        output = [(at, text) for at, stream, text in lines if stream == "stdout"]
        assert [text for _, text in output] == ["one", "zwei ☃", ""]
        assert [at for at, _ in output] == sorted(at for at, _ in output)
        assert [text for _, stream, text in lines if stream == "stderr"] == ["oh"]

    async def test_logs_begin_strictly_after_a_time(self, runtime: Runtime, app: MakeApp, subnet: IPv4Network) -> None:
        behaviour = Behaviour(output=tuple(str(number) for number in range(20)), exit_code=0)
        workload = await self.launch(runtime, a_workload(app(behaviour), subnet))
        await until_state(runtime, workload, SeenState.EXITED)
        lines = [line async for line in runtime.logs(workload.replica_id, None, follow=False)]
        for at, _, _ in lines:
            rest = [line async for line in runtime.logs(workload.replica_id, at, follow=False)]
            assert rest == [line for line in lines if line[0] > at]

    async def test_a_followed_log_ends_when_the_container_does(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        behaviour = Behaviour(output=("up",), last_words=("bye",))
        workload = await self.launch(runtime, a_workload(app(behaviour), subnet))
        lines: list[str] = []
        async with asyncio.timeout(SECONDS):
            async for _, _, line in runtime.logs(workload.replica_id, None, follow=True):
                lines.append(line)
                if line == "up":
                    await runtime.terminate(workload.replica_id)
        assert lines == ["up", "bye"]

    async def test_the_log_of_an_ended_container_can_be_followed_to_its_end(
        self, runtime: Runtime, app: MakeApp, subnet: IPv4Network
    ) -> None:
        workload = await self.launch(runtime, a_workload(app(Behaviour(output=("a", "b"), exit_code=0)), subnet))
        await until_state(runtime, workload, SeenState.EXITED)
        async with asyncio.timeout(SECONDS):
            assert [text async for *_, text in runtime.logs(workload.replica_id, None, follow=True)] == ["a", "b"]

    async def test_what_is_not_there_has_no_log(self, runtime: Runtime) -> None:
        assert [line async for line in runtime.logs(uuid4(), None, follow=True)] == []
