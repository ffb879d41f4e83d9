"""Explanations of deployments that really went so: made by the engine, told from the events it recorded."""

import asyncio
from datetime import timedelta

from converging.world import ADDRESSING, EngineRoom
from trackside.adapters.memory.runtime import Behaviour
from trackside.rooms.deployments import service as deployments
from trackside.rooms.deployments.model import Deployment, Explanation, Status
from trackside.rooms.deployments.service.explaining import explain_deployment


async def explained(room: EngineRoom, deployment: Deployment) -> Explanation:
    async with room.transaction() as tx:
        return await explain_deployment(tx, room.platform.actor, deployment.id)


def sentences(explanation: Explanation) -> list[str]:
    return [one.sentence for one in explanation.happened]


async def test_what_serves_and_what_it_replaced_tell_of_each_other(room: EngineRoom) -> None:
    instance = await room.a_service()
    first = await room.serve(instance.id, "app:1")
    second = await room.serve(instance.id, "app:2")
    told = await explained(room, second)
    assert told.status == "SUCCESS"
    assert told.sentence.startswith("It serves, for ")
    assert told.waits_for is None
    phases = [one.phase for one in told.happened if one.phase]
    wanted = ["QUEUE", "PUBLISH_IMAGE", "CREATE_CONTAINER", "HEALTHCHECK", "CONFIGURE_NETWORK", "DRAIN_INSTANCES"]
    assert phases == wanted
    whole = sum((timedelta(seconds=one.seconds or 0) for one in told.happened), timedelta())
    assert timedelta() < whole <= (await room.read(second.id)).updated_at - second.created_at
    gone = await explained(room, first)
    assert gone.status == "REMOVED"
    by = f"It was replaced by deployment {second.id} (deploy by tester)"
    assert gone.sentence.startswith(f"{by}, after it had served for ")


async def test_what_never_served_says_which_replica_ended_how(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await room.deploy(instance.id, "app:1", numReplicas=2, restartPolicyType="NEVER")
    room.runtime.behave(room.images.registry["app:1"].id, Behaviour(exit_code=3, exit_after=0.05))
    await room.run_jobs(made)
    told = await explained(room, made)
    assert told.status == "FAILED"
    assert told.sentence.startswith("The app exited with code 3 before it served.")
    assert told.hint
    assert any(
        sentence in sentences(told)
        for sentence in [f"Replica {number} is CRASHED: the app exited with code 3." for number in (0, 1)]
    )


async def test_what_was_superseded_names_what_took_its_place(room: EngineRoom) -> None:
    instance = await room.a_service()
    first = await room.deploy(instance.id, "app:1")
    second = await room.deploy(instance.id, "app:2")
    assert second.superseded == (first.id,)
    told = await explained(room, first)
    superseded = f"It was superseded by deployment {second.id} (deploy by tester) before it served."
    assert (told.status, told.sentence) == ("REMOVED", superseded)


async def test_what_is_under_way_says_what_it_waits_for(room: EngineRoom) -> None:
    instance = await room.a_service()
    made = await room.deploy(instance.id, "app:1", healthcheckTimeout=77)
    assert (await explained(room, made)).waits_for == "The deployer has to take it up."
    room.runtime.behave(room.images.registry["app:1"].id, Behaviour(listening=(9999,)))
    jobs = asyncio.create_task(room.run_jobs(made))
    wanted = "The edge has to find its replica well; that may take 77 s."
    async with asyncio.timeout(20):
        while (await explained(room, made)).waits_for != wanted:
            await asyncio.sleep(0.02)
    async with room.transaction() as tx:
        await deployments.cancel(tx, room.platform.actor, made.id)
    await jobs
    told = await explained(room, made)
    assert told.sentence == "Cancelled by tester."
    assert "Healthcheck was broken off." in sentences(told)


async def test_what_waits_to_be_built_says_which_it_is_in_the_queue(room: EngineRoom) -> None:
    first, second = [await room.ask_for_build((await room.a_service(project=name)).id) for name in ("one", "two")]
    assert (await explained(room, first)).waits_for == "A place to build in: it is next in the queue."
    assert (await explained(room, second)).waits_for == "A place to build in: it is second in the queue."


async def test_a_rollback_names_what_it_goes_back_to(room: EngineRoom) -> None:
    instance = await room.a_service()
    first = await room.serve(instance.id, "app:1")
    await room.serve(instance.id, "app:2")
    async with room.transaction() as tx:
        back = await deployments.roll_back(tx, room.platform.actor, ADDRESSING, first.id)
    await room.run_jobs(back)
    told = await explained(room, back)
    assert (await room.read(back.id)).status is Status.SUCCESS
    to = f"deployment {first.id} (deploy by tester)"
    assert sentences(told)[0] == (
        f"Rollback asked for by tester, to {to}: image app:1, 1 replica; the image is there already."
    )
