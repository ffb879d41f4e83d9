"""Projects, environments and services at the REST door."""

from uuid import uuid4

import pytest

from rest.client import IMAGE, Rest

BAD_NAMES = ["", "-a", "a-", "1a", "A", "a b", "a_b", "a.b", "a" * 41, "a\n", "../a", "a;b", chr(228), chr(0)]


async def test_the_version_is_told_without_a_token(rest: Rest) -> None:
    response = await rest.client.get("/v1/version")
    assert response.json() == {"version": "9.8.7"}


async def test_who_am_i_names_the_token_and_its_workspace(rest: Rest) -> None:
    me = await rest.call("GET", "/v1/me")
    assert (me["kind"], me["name"]) == ("token", "tests")
    assert me["workspace"] == {"id": str(rest.workspace_id), "name": "default"}


async def test_a_new_project_has_the_environment_production_and_nothing_else(rest: Rest) -> None:
    project = await rest.a_project()
    assert [environment["name"] for environment in project["environments"]] == ["production"]
    assert project["services"] == []
    assert await rest.call("GET", f"/v1/projects/{project['id']}") == project


async def test_projects_are_found_by_name(rest: Rest) -> None:
    for name in ("one", "two"):
        await rest.a_project(name)
    everything = await rest.call("GET", "/v1/projects")
    assert [project["name"] for project in everything["projects"]] == ["one", "two"]
    found = await rest.call("GET", "/v1/projects", params={"name": "two"})
    assert [project["name"] for project in found["projects"]] == ["two"]
    assert await rest.call("GET", "/v1/projects", params={"name": "three"}) == {"projects": []}


async def test_a_name_outside_the_grammar_is_refused_everywhere_and_nothing_is_made(rest: Rest) -> None:
    project = await rest.a_project()
    base = f"/v1/projects/{project['id']}"
    for name in BAD_NAMES:
        for path in ("/v1/projects", f"{base}/environments", f"{base}/services"):
            error = await rest.refused("POST", path, 400, json={"name": name})
            assert error["code"] == "projects.name_refused"
    assert (await rest.call("GET", "/v1/projects"))["projects"] == [project]


async def test_a_taken_name_is_a_conflict_until_the_other_one_is_deleted(rest: Rest) -> None:
    project = await rest.a_project()
    error = await rest.refused("POST", "/v1/projects", 409, json={"name": "shop"})
    assert (error["code"], error["kind"]) == ("projects.name_taken", "conflict")
    assert (await rest.send("DELETE", f"/v1/projects/{project['id']}")).status_code == 202
    assert (await rest.a_project())["id"] != project["id"]


async def test_a_service_has_an_instance_in_every_environment_whichever_came_first(rest: Rest) -> None:
    project = await rest.a_project()
    base = f"/v1/projects/{project['id']}"
    await rest.call("POST", f"{base}/services", json={"name": "web"})
    await rest.call("POST", f"{base}/environments", json={"name": "staging"})
    await rest.call("POST", f"{base}/services", json={"name": "api"})
    shown = await rest.call("GET", base)
    names = {
        environment["name"]: {instance["service_name"] for instance in environment["service_instances"]}
        for environment in shown["environments"]
    }
    assert names == {"production": {"web", "api"}, "staging": {"web", "api"}}
    assert [service["name"] for service in shown["services"]] == ["web", "api"]


@pytest.mark.parametrize("kind", ["environments", "services"])
async def test_names_are_listed_and_taken_per_project(rest: Rest, kind: str) -> None:
    for project in (await rest.a_project("one"), await rest.a_project("two")):
        path = f"/v1/projects/{project['id']}/{kind}"
        made = await rest.call("POST", path, json={"name": "same"})
        assert made in (await rest.call("GET", path))[kind]
        error = await rest.refused("POST", path, 409, json={"name": "same"})
        assert error["code"] == "projects.name_taken"


async def test_a_service_being_deleted_is_not_shown_and_its_name_is_free(rest: Rest) -> None:
    instance = await rest.an_instance()
    base = f"/v1/projects/{instance['project_id']}"
    assert (await rest.send("DELETE", f"/v1/services/{instance['service_id']}")).status_code == 202
    shown = await rest.call("GET", base)
    assert shown["services"] == []
    assert shown["environments"][0]["service_instances"] == []
    error = await rest.refused("DELETE", f"/v1/services/{instance['service_id']}", 404)
    assert error["code"] == "projects.service_missing"
    await rest.call("POST", f"{base}/services", json={"name": "web"})


@pytest.mark.parametrize("deleted", ["services/{service_id}", "environments/{environment_id}", "projects/{project_id}"])
async def test_a_service_instance_goes_with_what_holds_it(rest: Rest, deleted: str) -> None:
    instance = await rest.an_instance()
    await rest.call("DELETE", "/v1/" + deleted.format(**instance))
    path = f"/v1/service-instances/{instance['id']}"
    assert (await rest.refused("GET", path, 404))["kind"] == "missing"
    assert (await rest.refused("POST", f"{path}/deployments", 404, json={"source": IMAGE}))["kind"] == "missing"


@pytest.mark.parametrize("kept", ["services/{service_id}", "environments/{environment_id}"])
async def test_what_a_deleted_project_holds_is_missing(rest: Rest, kept: str) -> None:
    instance = await rest.an_instance()
    await rest.call("DELETE", f"/v1/projects/{instance['project_id']}")
    assert (await rest.refused("DELETE", "/v1/" + kept.format(**instance), 404))["kind"] == "missing"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/projects/{}", "projects.project_missing"),
        ("/v1/projects/{}/environments", "projects.project_missing"),
        ("/v1/environments/{}/config", "projects.environment_missing"),
        ("/v1/service-instances/{}", "projects.service_missing"),
        ("/v1/service-instances/{}/variables", "projects.service_missing"),
        ("/v1/deployments/{}", "deployments.missing"),
        ("/v1/deployments/{}/logs", "deployments.missing"),
    ],
)
async def test_an_unknown_id_is_missing_with_the_code_of_what_was_asked_for(rest: Rest, path: str, code: str) -> None:
    assert (await rest.refused("GET", path.format(uuid4()), 404))["code"] == code
