"""A change that comes while a deployment is on its way, or has just taken over: nothing that was asked for is lost."""

from typing import Any
from uuid import UUID

from rest.client import Rest
from trackside.rooms.deployments import events

NEWER = {"kind": "image", "reference": "app:2"}


async def _change(rest: Rest, deployment: dict[str, Any], name: str) -> dict[str, Any]:
    path = f"/v1/service-instances/{deployment['service_instance_id']}/variables"
    return await rest.call("PATCH", path, json={"variables": {name: "1"}})


async def _swap(rest: Rest, old: dict[str, Any], new: dict[str, Any]) -> None:
    """What the engine records when the traffic has moved to a deployment of an image that is there: the old one drains."""
    assert new["status"] == "DEPLOYING"
    instance_id = UUID(old["service_instance_id"])
    await rest.record(events.DeploymentRemoving(UUID(old["id"]), instance_id, "Replaced."))


async def test_a_variable_changed_while_the_old_version_drains_is_deployed(rest: Rest) -> None:
    old = await rest.serve(await rest.a_deployment())
    new = (await _change(rest, old, "A"))["deployment"]
    await _swap(rest, old, new)
    changed = await _change(rest, old, "B")
    assert (changed["deployment"]["status"], changed["deployment"]["image_id"]) == ("DEPLOYING", old["image_id"])


async def test_a_variable_changed_during_a_build_is_deployed_with_the_newer_source(rest: Rest) -> None:
    old = await rest.serve(await rest.a_deployment())
    await rest.deploy(old["service_instance_id"], source=NEWER)
    deployment = (await _change(rest, old, "A"))["deployment"]
    assert (deployment["source"], deployment["status"]) == (NEWER, "QUEUED")


async def test_two_changes_in_a_row_keep_the_build_that_the_first_one_needs(rest: Rest) -> None:
    old = await rest.serve(await rest.a_deployment(), build_variables=("A",))
    await _change(rest, old, "A")
    assert (await _change(rest, old, "B"))["deployment"]["status"] == "QUEUED"


async def test_a_restart_while_the_old_version_drains_restarts_the_new_one(rest: Rest) -> None:
    old = await rest.serve(await rest.a_deployment())
    new = (await _change(rest, old, "A"))["deployment"]
    await _swap(rest, old, new)
    shown = await rest.call("POST", f"/v1/service-instances/{old['service_instance_id']}/restart")
    assert (shown["latest_deployment"]["trigger"], shown["latest_deployment"]["status"]) == ("restart", "DEPLOYING")


async def test_replicas_are_counted_of_the_new_version_while_the_old_one_drains(rest: Rest) -> None:
    old = await rest.serve(await rest.a_deployment())
    new = (await _change(rest, old, "A"))["deployment"]
    await _swap(rest, old, new)
    path = f"/v1/service-instances/{old['service_instance_id']}"
    assert (await rest.call("POST", f"{path}/scale", json={"replicas": 3}))["replicas"]["wanted"] == 3


async def test_a_rollback_keeps_the_number_of_replicas_that_is_wanted_now(rest: Rest) -> None:
    old = await rest.serve(await rest.a_deployment())
    path = f"/v1/service-instances/{old['service_instance_id']}"
    await rest.serve(await rest.deploy(old["service_instance_id"]))
    await rest.record(events.DeploymentRemoving(UUID(old["id"]), UUID(old["service_instance_id"]), "Replaced."))
    await rest.call("POST", f"{path}/scale", json={"replicas": 3})
    await rest.serve(await rest.call("POST", f"/v1/deployments/{old['id']}/rollback"))
    assert (await rest.call("GET", path))["replicas"]["wanted"] == 3
