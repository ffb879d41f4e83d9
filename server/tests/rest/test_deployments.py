"""Deployments at the REST door: asked for, superseded, cancelled, rolled back, taken down; always with a true record."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from rest.client import IMAGE, Rest, told
from trackside.rooms.deployments import events
from trackside.rooms.deployments.model import StepName

SOURCES_REFUSED: list[Any] = [
    {},
    {"kind": "ftp", "url": "ftp://x"},
    {"kind": "git"},
    {"kind": "git", "url": 5},
    {"kind": "image"},
    {"kind": "image", "reference": "  "},
    {"kind": "image", "reference": ["a"]},
    {"kind": "upload"},
    {"kind": "upload", "upload_id": "nonsense"},
    {"kind": "git", "url": "https://example.org/x.git", "reference": 1},
    {"kind": "git", "url": "https://example.org/x.git", "directory": {"a": 1}},
    {"kind": "git", "url": "https://example.org/x.git", "token_secret": "nonsense"},
]


def _path(instance_id: str) -> str:
    return f"/v1/service-instances/{instance_id}/deployments"


async def _list(rest: Rest, instance_id: str, **query: Any) -> list[dict[str, Any]]:
    return (await rest.call("GET", _path(instance_id), params=query))["deployments"]


async def test_a_request_is_accepted_at_once_with_the_whole_deployment(rest: Rest) -> None:
    instance = await rest.an_instance()
    response = await rest.send("POST", _path(instance["id"]), json={"source": IMAGE})
    assert response.status_code == 202
    made = response.json()
    assert (made["status"], made["trigger"], made["source"]) == ("QUEUED", "deploy", IMAGE)
    assert made["url"] == "http://web-production.localhost:7780"
    assert (made["replicas"], made["steps"], made["ended_at"]) == ([], [], None)
    assert made.pop("superseded") == []
    assert await rest.call("GET", f"/v1/deployments/{made['id']}") == made


async def test_the_source_of_before_is_deployed_where_none_is_given(rest: Rest) -> None:
    instance = await rest.an_instance()
    assert (await rest.refused("POST", _path(instance["id"]), 409, json={}))["code"] == "deployments.nothing_to_deploy"
    await rest.deploy(instance["id"])
    again = await rest.call("POST", _path(instance["id"]), json={})
    assert (again["trigger"], again["source"]) == ("redeploy", IMAGE)


async def test_a_bad_source_is_refused_and_nothing_is_kept(rest: Rest) -> None:
    instance = await rest.an_instance()
    wrong: list[str] = []
    for source in SOURCES_REFUSED:
        body = {"source": source, "settings": {"deploy": {"numReplicas": 3}}}
        response = await rest.send("POST", _path(instance["id"]), json=body)
        if response.json().get("error", {}).get("code") != "builds.source_refused":
            wrong.append(f"{source}: {response.text[:200]}")
    assert wrong == []
    assert await _list(rest, instance["id"]) == []
    config = await rest.call("GET", f"/v1/environments/{instance['environment_id']}/config")
    assert config == {"version": 0, "config": {}}


@pytest.mark.parametrize(
    "settings",
    [
        {"deploy": {"numReplicas": 0}},
        {"deploy": []},
        {"build": {"builder": "x"}},
        {"variables": {"A": "1"}},
        {"source": {}},
    ],
    ids=str,
)
async def test_bad_settings_are_refused_and_nothing_is_kept(rest: Rest, settings: Any) -> None:
    instance = await rest.an_instance()
    body = {"source": IMAGE, "settings": settings}
    assert (await rest.refused("POST", _path(instance["id"]), 400, json=body))["code"] == "projects.config_refused"
    assert await _list(rest, instance["id"]) == []
    config = await rest.call("GET", f"/v1/environments/{instance['environment_id']}/config")
    assert config["version"] == 0


async def test_settings_become_part_of_the_config(rest: Rest) -> None:
    instance = await rest.an_instance()
    made = await rest.deploy(instance["id"], settings={"deploy": {"numReplicas": 3}})
    config = await rest.call("GET", f"/v1/environments/{instance['environment_id']}/config")
    assert config["config"]["services"][instance["service_id"]]["deploy"] == {"numReplicas": 3}
    assert made["config_version"] == config["version"]


async def test_credentials_of_a_source_are_told_nowhere(rest: Rest) -> None:
    instance = await rest.an_instance()
    source = {"kind": "git", "url": "https://example.org/x.git", "token": "hunter2", "private_key": "PRIVATE"}
    made = await rest.deploy(instance["id"], source=source)
    assert made["source"] == {"kind": "git", "url": "https://example.org/x.git"}
    told = [
        await rest.send("GET", f"/v1/deployments/{made['id']}/events"),
        await rest.send("GET", f"/v1/environments/{instance['environment_id']}/config"),
        await rest.send("GET", _path(instance["id"])),
    ]
    assert not [response.text for response in told if "hunter2" in response.text or "PRIVATE" in response.text]


@pytest.mark.parametrize(
    "url", ["https://hunter2@example.org/x", "https://x:hunter2@example.org/x", "ssh://x:hunter2@a/x"]
)
async def test_a_credential_in_a_url_is_refused_at_every_door_and_kept_nowhere(rest: Rest, url: str) -> None:
    instance = await rest.an_instance()
    config, source = f"/v1/environments/{instance['environment_id']}/config", {"kind": "git", "url": url}
    patch = {"services": {instance["service_id"]: {"source": source}}}
    doors = [("POST", _path(instance["id"]), {"source": source}), ("PATCH", config, {"patch": patch})]
    for method, path, body in doors:
        response = await rest.send(method, path, json=body)
        assert (response.status_code, told(response)["code"]) == (400, "projects.secret_in_url")
        assert "token" in told(response)["hint"]
        assert "hunter2" not in response.text
    assert await rest.tables_with("hunter2") == []
    assert await _list(rest, instance["id"]) == []


async def test_an_upload_that_is_not_there_can_not_be_deployed(rest: Rest) -> None:
    instance = await rest.an_instance()
    source = {"kind": "upload", "upload_id": str(uuid4())}
    error = await rest.refused("POST", _path(instance["id"]), 400, json={"source": source})
    assert (error["code"], "trackside up" in error["hint"]) == ("builds.upload_gone", True)
    assert await _list(rest, instance["id"]) == []


async def test_a_credential_that_was_kept_before_it_was_refused_is_not_kept_again(rest: Rest) -> None:
    instance = await rest.an_instance()
    made = await rest.deploy(instance["id"], source={"kind": "git", "url": "https://example.org/x"})
    source = {"kind": "git", "url": "https://hunter2@example.org/x"}
    await rest.rewrite_source(made["id"], source)
    assert await rest.tables_with("hunter2") == ["deployments"]
    error = await rest.refused("POST", f"/v1/deployments/{made['id']}/redeploy", 400, json={})
    assert error["code"] == "projects.secret_in_url"
    assert await rest.tables_with("hunter2") == ["deployments"]


async def test_the_id_of_a_secret_can_not_be_put_into_a_source(rest: Rest) -> None:
    """Who may read ids, but no values, would have the value of any variable sent to a git server of his own."""
    instance = await rest.an_instance()
    await rest.call("PATCH", f"/v1/service-instances/{instance['id']}/variables", json={"variables": {"A": "hunter2"}})
    config = f"/v1/environments/{instance['environment_id']}/config"
    kept = await rest.call("GET", config)
    secret = kept["config"]["services"][instance["service_id"]]["variables"]["A"]["secretVersion"]
    for key in ("token_secret", "key_secret"):
        source = {"kind": "git", "url": "https://evil.example/x.git", key: secret}
        error = await rest.refused("POST", _path(instance["id"]), 400, json={"source": source})
        assert error["code"] == "builds.source_refused"
        patch = {"services": {instance["service_id"]: {"source": source}}}
        error = await rest.refused("PATCH", config, 400, json={"patch": patch})
        assert error["code"] == "projects.config_refused"
    assert await rest.call("GET", config) == kept


async def test_a_source_with_a_token_can_not_be_pointed_elsewhere(rest: Rest) -> None:
    instance = await rest.an_instance()
    await rest.deploy(instance["id"], source={"kind": "git", "url": "https://example.org/x.git", "token": "hunter2"})
    config = f"/v1/environments/{instance['environment_id']}/config"
    kept = await rest.call("GET", config)
    patch = {"services": {instance["service_id"]: {"source": {"url": "https://evil.example/x.git"}}}}
    error = await rest.refused("PATCH", config, 400, json={"patch": patch})
    assert error["code"] == "projects.config_refused"
    assert await rest.call("GET", config) == kept
    patch["services"][instance["service_id"]]["source"] = {"reference": "next"}
    assert (await rest.call("PATCH", config, json={"patch": patch}))["version"] == kept["version"] + 1


async def test_a_source_that_a_patch_of_the_config_has_spoilt_is_refused_when_it_is_deployed(rest: Rest) -> None:
    instance = await rest.an_instance()
    patch = {"services": {instance["service_id"]: {"source": {"kind": "git", "url": 5}}}}
    await rest.call("PATCH", f"/v1/environments/{instance['environment_id']}/config", json={"patch": patch})
    assert (await rest.refused("POST", _path(instance["id"]), 400, json={}))["code"] == "builds.source_refused"


async def test_a_newer_deployment_supersedes_the_one_under_way_and_both_records_are_true(rest: Rest) -> None:
    older = await rest.a_deployment()
    newer = await rest.deploy(older["service_instance_id"])
    assert [d["id"] for d in await _list(rest, older["service_instance_id"])] == [newer["id"], older["id"]]
    ended = await rest.call("GET", f"/v1/deployments/{older['id']}")
    assert ended["status"] == "REMOVED"
    assert newer["id"] in ended["reason"]
    assert ended["ended_at"] is not None
    assert newer["status"] == "QUEUED"


async def test_a_deployment_under_way_can_be_cancelled_once(rest: Rest) -> None:
    made = await rest.a_deployment()
    response = await rest.send("POST", f"/v1/deployments/{made['id']}/cancel")
    assert response.status_code == 202
    assert (response.json()["status"], response.json()["reason"]) == ("REMOVED", "Cancelled by tests.")
    error = await rest.refused("POST", f"/v1/deployments/{made['id']}/cancel", 409)
    assert error["code"] == "deployments.not_cancellable"


async def test_what_serves_cannot_be_cancelled(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    error = await rest.refused("POST", f"/v1/deployments/{served['id']}/cancel", 409)
    assert error["code"] == "deployments.not_cancellable"


async def test_a_rollback_takes_the_old_image_settings_and_variables_and_builds_nothing(rest: Rest) -> None:
    first = await rest.serve(await rest.a_deployment())
    instance_id = first["service_instance_id"]
    await rest.serve(await rest.deploy(instance_id, settings={"deploy": {"startCommand": "other"}}))
    back = await rest.call("POST", f"/v1/deployments/{first['id']}/rollback")
    assert (back["trigger"], back["status"], back["rollback_of"]) == ("rollback", "DEPLOYING", first["id"])
    assert (back["image_id"], back["config_version"]) == (first["image_id"], first["config_version"])


async def test_what_never_served_cannot_be_rolled_back_to(rest: Rest) -> None:
    made = await rest.a_deployment()
    await rest.call("POST", f"/v1/deployments/{made['id']}/cancel")
    error = await rest.refused("POST", f"/v1/deployments/{made['id']}/rollback", 409)
    assert error["code"] == "deployments.not_rollable"


async def test_an_image_that_is_no_longer_kept_cannot_be_rolled_back_to(rest: Rest) -> None:
    first = served = await rest.serve(await rest.a_deployment())
    for _ in range(5):
        await rest.remove(served)
        served = await rest.serve(await rest.deploy(first["service_instance_id"]))
    error = await rest.refused("POST", f"/v1/deployments/{first['id']}/rollback", 409)
    assert error["code"] == "deployments.not_rollable"


async def test_a_redeploy_takes_the_same_source_with_the_newest_config(rest: Rest) -> None:
    first = await rest.serve(await rest.a_deployment())
    await rest.deploy(first["service_instance_id"], source={"kind": "image", "reference": "app:2"})
    again = await rest.call("POST", f"/v1/deployments/{first['id']}/redeploy")
    assert (again["trigger"], again["source"], again["status"]) == ("redeploy", IMAGE, "QUEUED")


async def test_scaling_sets_the_wanted_number_for_now_and_for_later(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    path = f"/v1/service-instances/{served['service_instance_id']}"
    scaled = await rest.call("POST", f"{path}/scale", json={"replicas": 4})
    assert scaled["replicas"]["wanted"] == 4
    config = await rest.call("GET", f"/v1/environments/{scaled['environment_id']}/config")
    assert config["config"]["services"][scaled["service_id"]]["deploy"]["numReplicas"] == 4


@pytest.mark.parametrize("replicas", [0, -1, 101, 1.5, "two", None, True, 10**30], ids=str)
async def test_a_number_of_replicas_that_cannot_be_is_refused(rest: Rest, replicas: Any) -> None:
    served = await rest.serve(await rest.a_deployment())
    path = f"/v1/service-instances/{served['service_instance_id']}"
    error = await rest.refused("POST", f"{path}/scale", 400, json={"replicas": replicas})
    assert error["code"] in ("projects.config_refused", "rest.invalid")
    assert (await rest.call("GET", path))["replicas"]["wanted"] == 1


async def test_restarting_and_taking_down_need_something_that_serves(rest: Rest) -> None:
    instance = await rest.an_instance()
    path = f"/v1/service-instances/{instance['id']}"
    assert (await rest.refused("POST", f"{path}/restart", 409))["code"] == "deployments.nothing_to_deploy"
    assert (await rest.send("POST", f"{path}/down")).status_code == 202


async def test_a_restart_is_a_deployment_of_the_same_image(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    shown = await rest.call("POST", f"/v1/service-instances/{served['service_instance_id']}/restart")
    latest = shown["latest_deployment"]
    assert (latest["trigger"], latest["status"], latest["image_id"]) == ("restart", "DEPLOYING", served["image_id"])
    assert shown["active_deployment"]["id"] == served["id"]


async def test_taking_down_removes_what_serves_and_keeps_service_and_variables(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    path = f"/v1/service-instances/{served['service_instance_id']}"
    await rest.call("PATCH", f"{path}/variables", json={"variables": {"A": "1"}, "skip_deploy": True})
    down = await rest.call("POST", f"{path}/down")
    assert down["active_deployment"] is None
    assert down["latest_deployment"]["status"] == "REMOVING"
    assert len((await rest.call("GET", f"{path}/variables"))["variables"]) == 1


async def test_the_history_tells_who_did_what_in_order(rest: Rest) -> None:
    made = await rest.a_deployment()
    await rest.call("POST", f"/v1/deployments/{made['id']}/cancel")
    history = (await rest.call("GET", f"/v1/deployments/{made['id']}/events"))["events"]
    assert [event["type"] for event in history] == ["DeploymentRequested", "DeploymentProgressed", "DeploymentRemoved"]
    assert {event["actor"]["name"] for event in history} == {"tests"}
    assert [event["at"] for event in history] == sorted(event["at"] for event in history)


async def test_steps_replicas_and_reasons_are_told(rest: Rest) -> None:
    made = await rest.a_deployment()
    deployment_id, replica_id = UUID(made["id"]), uuid4()
    await rest.record(
        events.StepStarted(deployment_id, str(StepName.CREATE_CONTAINER)),
        events.ReplicaPlanned(replica_id, deployment_id, "replica", 0, "10.210.0.2"),
        events.ReplicaChanged(replica_id, deployment_id, "CRASHED", "exited with 1"),
        events.StepEnded(deployment_id, str(StepName.CREATE_CONTAINER), "It exited.", False),
        events.DeploymentFailed(
            deployment_id, UUID(made["service_instance_id"]), "It exited.", "Read its log.", "builds.x"
        ),
    )
    told = await rest.call("GET", f"/v1/deployments/{made['id']}")
    assert [told[key] for key in ("status", "reason", "hint", "code")] == [
        "FAILED",
        "It exited.",
        "Read its log.",
        "builds.x",
    ]
    explained = await rest.call("GET", f"/v1/deployments/{made['id']}/explanation")
    assert (explained["hint"], explained["code"]) == ("Read its log.", "builds.x")
    assert [(r["id"], r["status"], r["detail"]) for r in told["replicas"]] == [
        (str(replica_id), "CRASHED", "exited with 1")
    ]
    assert [(s["name"], s["error"], s["skipped"]) for s in told["steps"]] == [("CREATE_CONTAINER", "It exited.", False)]


async def test_lists_are_newest_first_and_limited(rest: Rest) -> None:
    made = [await rest.a_deployment()]
    made += [await rest.deploy(made[0]["service_instance_id"]) for _ in range(3)]
    newest_first = [d["id"] for d in reversed(made)]
    listed = await _list(rest, made[0]["service_instance_id"])
    assert [d["id"] for d in listed] == newest_first
    assert [d["id"] for d in await _list(rest, made[0]["service_instance_id"], limit=2)] == newest_first[:2]


@pytest.mark.parametrize("limit", ["0", "-1", "501", "many", ""])
async def test_a_limit_out_of_range_is_refused(rest: Rest, limit: str) -> None:
    instance = await rest.an_instance()
    assert (await rest.refused("GET", _path(instance["id"]), 400, params={"limit": limit}))["code"] == "rest.invalid"


async def test_a_deployment_is_told_with_the_same_keys_everywhere(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    shown = await rest.call("GET", f"/v1/service-instances/{served['service_instance_id']}")
    project = await rest.call("GET", f"/v1/projects/{shown['project_id']}")
    assert shown["active_deployment"] == shown["latest_deployment"] == served
    assert project["environments"][0]["service_instances"] == [shown]
    assert json.dumps(served)  # nothing but JSON in it


async def test_a_restart_says_which_deployment_under_way_made_way_for_it(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    path = f"/v1/service-instances/{served['service_instance_id']}"
    coming = await rest.call("POST", f"/v1/deployments/{served['id']}/redeploy")
    assert coming["superseded"] == []
    shown = await rest.call("POST", f"{path}/restart")
    assert shown["superseded"] == [coming["id"]]
    changed = await rest.call("PATCH", f"{path}/variables", json={"variables": {"A": "1"}})
    assert changed["deployment"]["superseded"] == [shown["latest_deployment"]["id"]]
    explanation = await rest.call("GET", f"/v1/deployments/{coming['id']}/explanation")
    by = f"deployment {shown['latest_deployment']['id']} (restart by tests)"
    assert explanation["sentence"] == f"It was superseded by {by} before it served."
    names = [explanation[f"{what}_name"] for what in ("project", "environment", "service")]
    assert names == ["shop", "production", "web"]
    assert explanation["happened"][0]["sentence"].startswith("Asked for again by tests: image app:1")
