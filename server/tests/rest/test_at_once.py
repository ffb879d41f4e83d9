"""Calls that come at the same moment: each is answered as if it had come alone, before or after the others."""

import asyncio
from collections import Counter
from typing import Any

from rest.client import IMAGE, Rest

MANY = 12


async def test_many_services_are_made_and_deployed_at_once_in_one_project(rest: Rest) -> None:
    project = await rest.a_project()

    async def service(number: int) -> dict[str, Any]:
        made = await rest.call("POST", f"/v1/projects/{project['id']}/services", json={"name": f"s{number}"})
        shown = await rest.call("GET", f"/v1/projects/{project['id']}")
        instances = shown["environments"][0]["service_instances"]
        instance = next(one for one in instances if one["service_id"] == made["id"])
        await rest.call("PATCH", f"/v1/service-instances/{instance['id']}/variables", json={"variables": {"A": "1"}})
        return await rest.deploy(instance["id"])

    deployments = await asyncio.gather(*(service(number) for number in range(MANY)))
    assert len({one["service_instance_id"] for one in deployments}) == MANY
    config = await rest.call("GET", f"/v1/environments/{project['environments'][0]['id']}/config")
    assert len(config["config"]["services"]) == MANY
    assert all(set(one) >= {"source", "variables"} for one in config["config"]["services"].values())


async def test_a_name_wanted_by_many_at_once_is_given_to_one(rest: Rest) -> None:
    async def statuses(path: str) -> Counter[int]:
        responses = await asyncio.gather(*(rest.send("POST", path, json={"name": "same"}) for _ in range(MANY)))
        return Counter(response.status_code for response in responses)

    expected = Counter({201: 1, 409: MANY - 1})
    assert await statuses("/v1/projects") == expected
    project = (await rest.call("GET", "/v1/projects"))["projects"][0]
    assert await statuses(f"/v1/projects/{project['id']}/services") == expected
    assert await statuses(f"/v1/projects/{project['id']}/environments") == expected


async def test_an_environment_and_a_service_made_at_once_know_each_other(rest: Rest) -> None:
    project = await rest.a_project()
    base = f"/v1/projects/{project['id']}"
    names = [f"n{number}" for number in range(MANY)]
    parts = ("environments", "services")
    await asyncio.gather(
        *(rest.call("POST", f"{base}/{part}", json={"name": name}) for name in names for part in parts)
    )
    shown = await rest.call("GET", base)
    assert {len(environment["service_instances"]) for environment in shown["environments"]} == {MANY}


async def test_of_deployments_asked_for_at_once_all_but_the_last_are_superseded(rest: Rest) -> None:
    instance = await rest.an_instance()
    await asyncio.gather(*(rest.deploy(instance["id"], source=IMAGE) for _ in range(MANY)))
    listed = (await rest.call("GET", f"/v1/service-instances/{instance['id']}/deployments"))["deployments"]
    assert Counter(one["status"] for one in listed) == Counter({"QUEUED": 1, "REMOVED": MANY - 1})
    assert listed[0]["status"] == "QUEUED"


async def test_no_edit_of_the_config_made_at_once_is_lost(rest: Rest) -> None:
    instance = await rest.an_instance()
    path = f"/v1/service-instances/{instance['id']}/variables"
    await asyncio.gather(*(rest.call("PATCH", path, json={"variables": {f"V{n}": str(n)}}) for n in range(MANY)))
    shown = await rest.call("GET", path, params={"reveal": "true"})
    assert {one["name"]: one["value"] for one in shown["variables"]} == {f"V{n}": str(n) for n in range(MANY)}


async def test_a_list_is_whole_while_what_it_lists_is_deleted(rest: Rest) -> None:
    projects = [await rest.a_project(f"p{number}") for number in range(MANY)]
    for project in projects:
        await rest.call("POST", f"/v1/projects/{project['id']}/services", json={"name": "web"})
    deletions = [rest.send("DELETE", f"/v1/projects/{project['id']}") for project in projects]
    listings = [rest.send("GET", "/v1/projects") for _ in range(MANY * 3)]
    mixed = [one for pair in zip(deletions, listings[::3], listings[1::3], listings[2::3], strict=True) for one in pair]
    answers = await asyncio.gather(*mixed)
    assert {answer.status_code for answer in answers} == {200, 202}
    shown = [project for answer in answers if answer.status_code == 200 for project in answer.json()["projects"]]
    assert {len(project["environments"][0]["service_instances"]) for project in shown} <= {1}
