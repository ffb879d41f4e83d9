"""The build queue at the REST door: places, what an actor may see, priorities, and what it costs to look."""

import asyncio
from typing import Any
from uuid import UUID

from rest.client import IMAGE, Rest
from trackside.rooms.deployments import events
from trackside.rooms.deployments.model import Status

REPOSITORY = {"kind": "git", "url": "https://git.test/app"}
QUEUE = "/v1/builds/queue"


async def ask(rest: Rest, project: str, **body: Any) -> dict[str, Any]:
    """A deployment that is to be built, of a service of its own."""
    return await rest.deploy((await rest.an_instance(project))["id"], source=REPOSITORY, **body)


async def read(rest: Rest, deployment: dict[str, Any]) -> dict[str, Any]:
    return await rest.call("GET", f"/v1/deployments/{deployment['id']}")


async def begin(rest: Rest, deployment: dict[str, Any]) -> None:
    """What a builder records first."""
    await rest.record(events.DeploymentProgressed(UUID(deployment["id"]), str(Status.BUILDING)))


async def test_a_deployment_that_waits_tells_its_place_until_it_is_built(rest: Rest, stranger: Rest) -> None:
    first, second = await ask(rest, "a"), await ask(rest, "b")
    theirs = await ask(stranger, "c")
    await begin(rest, first)
    assert (await read(rest, first))["queue"] is None
    # A stranger's turn comes before the second of one's own, though it was asked for later.
    assert (await read(stranger, theirs))["queue"] == {"place": 1, "waiting": 2, "building": 1}
    assert (await read(rest, second))["queue"] == {"place": 2, "waiting": 2, "building": 1}
    project = (await rest.call("GET", "/v1/projects", params={"name": "b"}))["projects"][0]
    shown = project["environments"][0]["service_instances"][0]["latest_deployment"]
    assert shown["queue"] == {"place": 2, "waiting": 2, "building": 1}


async def test_an_existing_image_never_waits_to_be_built(rest: Rest) -> None:
    await ask(rest, "a")
    assert (await rest.deploy((await rest.an_instance("b"))["id"], source=IMAGE))["queue"] is None


async def test_the_queue_shows_one_s_own_builds_in_order_and_of_others_their_number_only(
    rest: Rest, stranger: Rest
) -> None:
    built, waiting = await ask(rest, "a"), await ask(rest, "b")
    theirs = await ask(stranger, "secret")
    await begin(rest, built)
    queue = await rest.call("GET", QUEUE)
    assert (queue["waiting"], queue["building"]) == (2, 1)
    assert [(one["deployment_id"], one["place"]) for one in queue["builds"]] == [
        (built["id"], None),
        (waiting["id"], 2),
    ]
    assert [one["began_at"] is None for one in queue["builds"]] == [False, True]
    assert (queue["builds"][1]["project_name"], queue["builds"][1]["priority"]) == ("b", "production")
    assert theirs["id"] not in str(queue)
    assert "secret" not in str(queue)


async def test_urgent_goes_first_within_a_workspace_only(rest: Rest, stranger: Rest) -> None:
    theirs = await ask(stranger, "c")
    usual, urgent = await ask(rest, "a"), await ask(rest, "b", urgent=True)
    assert [(await read(rest, one))["queue"]["place"] for one in (urgent, usual)] == [2, 3]
    assert (await read(stranger, theirs))["queue"]["place"] == 1


async def test_a_redeployment_can_be_urgent_too(rest: Rest) -> None:
    await ask(rest, "a")
    served = await ask(rest, "b")
    await begin(rest, served)
    await rest.serve(await read(rest, served))
    again = await rest.call("POST", f"/v1/deployments/{served['id']}/redeploy", params={"urgent": "true"})
    assert again["queue"]["place"] == 1
    assert (await rest.call("GET", QUEUE))["builds"][0]["priority"] == "urgent"


async def test_a_cancelled_one_leaves_the_queue_and_a_superseding_one_takes_the_place(rest: Rest) -> None:
    first, second, third = [await ask(rest, name) for name in ("a", "b", "c")]
    newer = await rest.deploy(first["service_instance_id"], source=REPOSITORY)
    assert newer["queue"]["place"] == 1
    await rest.call("POST", f"/v1/deployments/{second['id']}/cancel")
    assert (await read(rest, second))["queue"] is None
    assert (await read(rest, third))["queue"] == {"place": 2, "waiting": 2, "building": 0}


async def test_what_is_deleted_is_no_longer_in_the_queue(rest: Rest) -> None:
    one = await ask(rest, "a")
    instance_id = UUID(one["service_instance_id"])
    await rest.record(events.InstanceForgotten(instance_id))
    assert await rest.call("GET", QUEUE) == {"waiting": 0, "building": 0, "builds": []}


async def test_many_asked_for_at_once_all_have_a_place_of_their_own(rest: Rest) -> None:
    project = await rest.a_project()
    names = [f"s{number}" for number in range(20)]
    for name in names:
        await rest.call("POST", f"/v1/projects/{project['id']}/services", json={"name": name})
    instances = (await rest.call("GET", f"/v1/projects/{project['id']}"))["environments"][0]["service_instances"]
    made = await asyncio.gather(*(rest.deploy(one["id"], source=REPOSITORY) for one in instances))
    queue = await rest.call("GET", QUEUE)
    assert [one["place"] for one in queue["builds"]] == list(range(1, 21))
    assert {one["deployment_id"] for one in queue["builds"]} == {one["id"] for one in made}
