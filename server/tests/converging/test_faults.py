"""What is away, full or used up: a deployment says so or ends with the reason, the old version serves, and all goes on after."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select

from conftest import Platform
from converging.test_converging import asking_all_the_time, assert_at_rest
from converging.test_what_is_left_behind import delete as delete_for_good
from converging.world import ADDRESSING, SERVES, EngineRoom, engine_room
from trackside.adapters.memory.sources import MemoryRepository
from trackside.kit import events as stream
from trackside.kit.clock import SystemClock
from trackside.kit.ids import new_id
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.converge.preparing import NoRoom
from trackside.rooms.deployments.converge.trouble import resume
from trackside.rooms.deployments.converge.writing import fail
from trackside.rooms.deployments.errors import NetworkFull, RuntimeUnavailable
from trackside.rooms.deployments.events import DeploymentHeldUp, DeploymentResumed
from trackside.rooms.deployments.model import Deployment, Network, Role, Status
from trackside.rooms.deployments.store import tables
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.errors import SlotsExhausted, SubnetsExhausted
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletable, ServiceInstance

FULL = "The engine could not make the container: no space left on device."


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def told(room: EngineRoom, deployment: Deployment) -> list[str]:
    """What the events say of its waiting."""
    async with room.transaction() as tx:
        past = await deployments.history(tx, room.platform.actor, deployment.id)
    kinds = (DeploymentHeldUp, DeploymentResumed)
    return [recorded.type for recorded in past if isinstance(recorded.event, kinds)]


async def test_while_the_engine_is_away_a_deployment_says_so_and_goes_on_when_it_is_back(room: EngineRoom) -> None:
    instance = await room.a_service()
    await room.serve(instance.id, "app:1")
    made = await room.deploy(instance.id, "app:2")
    await room.engine.prepare(room.platform.workspace_id, made.id)
    room.runtime.go_down()
    found = [(room.platform.workspace_id, instance.id)]
    assert await room.engine.deploying() == found, "should its job be lost"
    converging = asyncio.create_task(room.converge(instance.id))

    async def is_held_up() -> bool:
        return (await room.read(made.id)).is_held_up

    await until(is_held_up)
    waiting = await room.read(made.id)
    assert (waiting.status, waiting.hint) == (Status.DEPLOYING, RuntimeUnavailable.hint)
    assert await room.engine.deploying() == [], "nothing is left to be said"
    assert room.proxy.open_request(await room.host(instance.id)) is not None
    room.runtime.come_up()
    await converging
    ended = await room.read(made.id)
    assert (ended.status, ended.reason) == (Status.SUCCESS, None)
    assert await told(room, made) == ["DeploymentHeldUp", "DeploymentResumed"]


async def test_what_is_asked_for_while_an_engine_hangs_says_so_with_all_others(room: EngineRoom) -> None:
    """The pass that waited for the engine has begun before."""
    instance = await room.a_service()
    await room.serve(instance.id, "app:1")
    room.runtime.hang()
    converging = asyncio.create_task(room.converge(instance.id))

    async def are_waiting() -> bool:
        return room.runtime.waiting == 2  # who converges, and who asks how the replicas are

    await until(are_waiting)
    made = await room.deploy(instance.id, "app:2")
    await room.engine.prepare(room.platform.workspace_id, made.id)
    room.runtime.hang()

    async def is_held_up() -> bool:
        return (await room.read(made.id)).is_held_up

    await until(is_held_up)
    assert (await room.read(made.id)).reason == "The container engine does not answer."
    room.runtime.hang()
    room.runtime.come_up()
    await converging
    assert await told(room, made) == ["DeploymentHeldUp", "DeploymentResumed"]


async def test_what_waited_and_ends_in_the_first_good_pass_keeps_the_reason_of_its_end(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await room.deploy(instance.id, "app:1")
    await room.engine.prepare(room.platform.workspace_id, made.id)
    async with room.transaction() as tx:
        await stream.record(tx, DeploymentHeldUp(made.id, "The engine is away.", "Wait."))
        await fail(tx, await room.read(made.id), "It exited.", "Read its log.")
        await resume(tx, made.id)
    ended = await room.read(made.id)
    assert (ended.status, ended.reason, ended.hint) == (Status.FAILED, "It exited.", "Read its log.")


async def test_a_replica_that_cannot_start_now_keeps_nothing_else_back(room: EngineRoom) -> None:
    """The disk of the engine is full: the new version waits, the replica scaled away leaves, the other serves."""
    instance = await room.a_service()
    served = await room.serve(instance.id, "app:1", numReplicas=2)
    image = room.images.put_in_registry("app:2")
    room.runtime.behave(image.id, replace(SERVES, hindrance=FULL))
    async with asking_all_the_time(room, await room.host(instance.id)):
        made = await room.request(instance.id, "app:2", numReplicas=2)
        await room.engine.prepare(room.platform.workspace_id, made.id)
        async with room.transaction() as tx:
            await deployments.scale(tx, room.platform.actor, instance.id, 1)
        converging = asyncio.create_task(room.converge(instance.id))

        async def has_left() -> bool:
            return len([seen for seen in await room.seen(instance.id) if seen.deployment_id == served.id]) == 1

        await until(has_left)
        waiting = await room.read(made.id)
        assert (waiting.status, waiting.reason) == (Status.DEPLOYING, FULL)
        room.runtime.behave(image.id, SERVES)
        await converging
    await assert_at_rest(room, await room.read(made.id), 1)


async def test_what_waits_long_is_left_to_the_timer_and_takes_no_job_for_ever(room: EngineRoom) -> None:
    instance = await room.a_service()
    image = room.images.put_in_registry("app:1")
    room.runtime.behave(image.id, replace(SERVES, hindrance=FULL))
    made = await room.request(instance.id, "app:1")
    await room.engine.prepare(room.platform.workspace_id, made.id)
    async with asyncio.timeout(20):
        await room.engine.converge(room.platform.workspace_id, instance.id, lambda _: asyncio.sleep(0))
    assert (await room.read(made.id)).reason == FULL
    assert await told(room, made) == ["DeploymentHeldUp"]
    room.runtime.behave(image.id, SERVES)
    await room.converge(instance.id)
    assert (await room.read(made.id)).status is Status.SUCCESS


async def test_addresses_that_are_in_use_by_another_network_end_the_deployment_with_the_reason(
    room: EngineRoom,
) -> None:
    instance = await room.a_service()
    await room.runtime.ensure_network(Network(new_id(), ADDRESSING.subnet(0)))
    made = await room.serve(instance.id, "app:1")
    assert made.status is Status.FAILED
    assert made.reason is not None
    assert "in use by another network" in made.reason


async def take_all_addresses(room: EngineRoom, deployment: Deployment, network: IPv4Network) -> None:
    """As very many replicas of other services of the environment would."""
    async with room.transaction() as tx:
        taken = {
            IPv4Address(address)
            for address in (await tx.connection.execute(select(tables.replicas.c.address))).scalars()
        }
        values = {"role": str(Role.REPLICA), "status": "RUNNING", "detail": "", "restarts": 0, "ordinal": 0}
        for address in set(list(network)[2:-1]) - taken:
            made = {"id": new_id(), "deployment_id": deployment.id, "address": str(address), **values}
            await tx.connection.execute(insert(tables.replicas).values(**made, created_at=SystemClock().now()))


async def give_addresses_back(room: EngineRoom, deployment: Deployment) -> None:
    async with room.transaction() as tx:
        await tx.connection.execute(delete(tables.replicas).where(tables.replicas.c.deployment_id == deployment.id))


async def two_services(room: EngineRoom) -> tuple[ServiceInstance, ServiceInstance]:
    """Of one environment."""
    first = await room.a_service("neighbour")
    async with room.transaction() as tx:
        await projects.create_service(tx, room.platform.actor, first.project_id, "web")
        found = await projects.list_instances(tx, first.project_id)
    return first, next(instance for instance in found if instance.id != first.id)


async def test_without_an_address_left_a_deployment_fails_and_a_wish_for_more_replicas_waits_visibly(
    room: EngineRoom,
) -> None:
    neighbour, instance = await two_services(room)
    taking = await room.request(neighbour.id, "none:1")  # never converged
    served = await room.serve(instance.id, "app:1")
    network = ADDRESSING.subnet(0)
    await take_all_addresses(room, taking, network)
    async with asking_all_the_time(room, await room.host(instance.id)):
        failed = await room.serve(instance.id, "app:2")
        assert (failed.status, failed.hint) == (Status.FAILED, NetworkFull.hint)
        assert failed.reason == f"The environment's network {network} has no address left."
        async with room.transaction() as tx:
            await deployments.scale(tx, room.platform.actor, instance.id, 2)
        converging = asyncio.create_task(room.converge(instance.id))

        async def is_held_up() -> bool:
            return (await room.read(served.id)).is_held_up

        await until(is_held_up)
        assert (await room.read(served.id)).status is Status.SUCCESS
        await give_addresses_back(room, taking)
        await converging
    await assert_at_rest(room, await room.read(served.id), 2)
    assert (await room.read(served.id)).reason is None


async def test_without_a_slot_left_a_deployment_fails_and_the_next_one_has_the_slot_that_is_given_back(
    platform: Platform, tmp_path: Path
) -> None:
    async with engine_room(platform, tmp_path, addressing=replace(ADDRESSING, slots=1)) as room:
        first, second = await room.a_service(project="a"), await room.a_service(project="b")
        served = await room.serve(first.id, "app:1")
        failed = await room.serve(second.id, "app:2")
        assert (failed.status, failed.reason) == (Status.FAILED, "All 1 slots of the edge are in use.")
        assert failed.hint == SlotsExhausted.hint
        assert list(await room.seen(second.id)) == []
        async with room.transaction() as tx:
            assert await networking.backends_of(tx, second.id) == []
            await deployments.take_down(tx, room.platform.actor, first.id)
        await room.converge(first.id)
        assert (await room.read(served.id)).status is Status.REMOVED
        assert (await room.serve(second.id, "app:2")).status is Status.SUCCESS


async def test_without_a_subnet_left_a_deployment_is_refused_until_an_environment_is_deleted(
    platform: Platform, tmp_path: Path
) -> None:
    pool = IPv4Network("10.210.0.0/24")
    async with engine_room(platform, tmp_path, addressing=replace(ADDRESSING, pool=pool)) as room:
        first, second = await room.a_service(project="a"), await room.a_service(project="b")
        await room.serve(first.id, "app:1")
        with pytest.raises(SubnetsExhausted, match=f"All 1 subnets of {pool} are in use"):
            await room.deploy(second.id, "app:2")
        await delete_for_good(room, Deletable.PROJECT, first.project_id)
        assert (await room.serve(second.id, "app:2")).status is Status.SUCCESS


async def test_a_full_disk_under_the_sources_ends_the_deployment_with_the_reason(
    platform: Platform, tmp_path: Path
) -> None:
    small = tmp_path / "trees"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        async with engine_room(platform, tmp_path) as room:
            instance = await room.a_service()
            room.sources.repositories["https://example.org/app"] = repository = MemoryRepository()
            repository.commit({"Dockerfile": "FROM scratch", "large": "x" * 200_000})
            asked = deployments.Asked({"kind": "git", "url": "https://example.org/app"})
            async with room.transaction() as tx:
                made = await deployments.request_deployment(tx, platform.actor, ADDRESSING, instance.id, asked)
            await room.run_jobs(made)
            failed = await room.read(made.id)
            assert (failed.status, failed.hint) == (Status.FAILED, NoRoom.hint)
            assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
