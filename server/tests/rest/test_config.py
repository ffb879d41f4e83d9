"""The environment config at the REST door: patches become versions; a bad one changes nothing."""

from typing import Any

import pytest

from rest.client import Rest

DEPLOY_REFUSED: list[dict[str, Any]] = [
    {"numReplicas": 0},
    {"numReplicas": 101},
    {"numReplicas": "many"},
    {"numReplicas": True},
    {"numReplicas": []},
    {"numReplicas": 1.5},
    {"healthcheckPath": "health"},
    {"healthcheckPath": 7},
    {"healthcheckPath": "/x\r\nX-A: b"},
    {"healthcheckPath": "/with blank"},
    {"healthcheckPath": "/é"},
    {"healthcheckTimeout": 0},
    {"healthcheckTimeout": 1e9},
    {"healthcheckType": "PING"},
    {"healthcheckType": []},
    {"restartPolicyType": "SOMETIMES"},
    {"restartPolicyMaxRetries": -1},
    {"overlapSeconds": -1},
    {"drainingSeconds": "long"},
    {"connectionDrainSeconds": 3601},
    {"startPeriodSeconds": {"a": 1}},
    {"preDeployCommand": 1},
    {"preDeployCommand": [1, 2]},
    {"startCommand": ["a", "b"]},
    {"applicationProtocol": "h3"},
    {"port": 0},
    {"port": 65536},
    {"limitOverride": {"containers": {"cpu": 0}}},
    {"limitOverride": {"containers": {"memoryBytes": 1}}},
    {"limitOverride": []},
]
UNKNOWN = "0199b0b8-0000-7000-8000-000000000000"
SENSELESS: list[dict[str, Any]] = [
    {"services": []},
    {"services": {"SERVICE": 1}},
    {"services": {"SERVICE": {"deploy": "x"}}},
    {"services": {"SERVICE": {"build": {"builder": "MAKE"}}}},
    {"services": {"SERVICE": {"build": {"dockerfilePath": 5}}}},
    {"services": {"SERVICE": {"build": {"dockerfileTarget": []}}}},
    {"services": {"SERVICE": {"build": {"buildCommand": {}}}}},
    {"services": {"SERVICE": {"build": {"buildArguments": {"A": 1}}}}},
    {"services": {"SERVICE": {"build": {"buildArguments": ["A"]}}}},
    {"services": {"SERVICE": {"source": "x"}}},
    {"services": {"SERVICE": {"source": {"kind": "git", "url": "https://a.example/b", "token_secret": UNKNOWN}}}},
    {"services": {"SERVICE": {"source": {"kind": "git", "url": "https://a.example/b", "key_secret": "nonsense"}}}},
    {"services": {"SERVICE": {"deploy": {"port": 10**400}}}},
    {"services": {"SERVICE": {"networking": {"serviceDomains": {"a": {"port": 99999}}}}}},
    {"services": {"SERVICE": {"variables": {"A": "value"}}}},
    {"services": {"SERVICE": {"variables": {"A": {"secretVersion": UNKNOWN}}}}},
    {"services": {"SERVICE": {"variables": {"A": {"secretVersion": "nonsense"}}}}},
    {"services": {UNKNOWN: {}}},
    {"services": {"not-an-id": {}}},
    {"sharedVariables": {"A": "value"}},
    {"sharedVariables": [1]},
]


def _path(instance: dict[str, Any]) -> str:
    return f"/v1/environments/{instance['environment_id']}/config"


async def _patch(rest: Rest, instance: dict[str, Any], service: Any) -> dict[str, Any]:
    return await rest.call("PATCH", _path(instance), json={"patch": {"services": {instance["service_id"]: service}}})


async def test_a_setting_out_of_its_range_is_refused_by_name_and_changes_nothing(rest: Rest) -> None:
    instance = await rest.an_instance()
    before = await _patch(rest, instance, {"deploy": {"numReplicas": 2}})
    wrong: list[str] = []
    for deploy in DEPLOY_REFUSED:
        patch = {"services": {instance["service_id"]: {"deploy": {"startCommand": "new", **deploy}}}}
        response = await rest.send("PATCH", _path(instance), json={"patch": patch})
        error = response.json().get("error", {})
        key = next(iter(deploy)) if "limitOverride" not in deploy else ""
        if error.get("code") != "projects.config_refused" or key not in error["message"]:
            wrong.append(f"{deploy}: {response.status_code} {response.text[:200]}")
    assert wrong == []
    assert await rest.call("GET", _path(instance)) == before


async def test_a_patch_that_makes_no_sense_is_refused_and_changes_nothing(rest: Rest) -> None:
    instance = await rest.an_instance()
    wrong: list[str] = []
    for given in SENSELESS:
        patch = dict(given)
        if isinstance(services := given.get("services"), dict):
            patch["services"] = {key.replace("SERVICE", instance["service_id"]): part for key, part in services.items()}
        response = await rest.send("PATCH", _path(instance), json={"patch": patch})
        if response.json().get("error", {}).get("code") != "projects.config_refused":
            wrong.append(f"{given}: {response.status_code} {response.text[:200]}")
    assert wrong == []
    assert await rest.call("GET", _path(instance)) == {"version": 0, "config": {}}


async def test_a_patch_merges_objects_replaces_values_and_null_removes(rest: Rest) -> None:
    instance = await rest.an_instance()
    await _patch(rest, instance, {"deploy": {"numReplicas": 2, "startCommand": "run"}})
    found = await _patch(rest, instance, {"deploy": {"numReplicas": 3, "startCommand": None}})
    assert found == {"version": 2, "config": {"services": {instance["service_id"]: {"deploy": {"numReplicas": 3}}}}}


async def test_a_patch_that_changes_nothing_makes_no_version(rest: Rest) -> None:
    instance = await rest.an_instance()
    first = await _patch(rest, instance, {"deploy": {"numReplicas": 2}})
    assert await _patch(rest, instance, {"deploy": {"numReplicas": 2}}) == first


async def test_keys_we_do_not_know_are_kept_as_they_are(rest: Rest) -> None:
    instance = await rest.an_instance()
    found = await _patch(rest, instance, {"deploy": {"sleepApplication": False, "cronSchedule": "* * * * *"}})
    assert found["config"]["services"][instance["service_id"]]["deploy"]["cronSchedule"] == "* * * * *"


async def test_text_that_no_database_keeps_is_refused_even_under_keys_we_do_not_know(rest: Rest) -> None:
    instance = await rest.an_instance()
    for text in (chr(0), chr(0xD800)):
        body = b'{"patch": {"services": {"%s": {"other": "\\u%04x"}}}}' % (instance["service_id"].encode(), ord(text))
        error = await rest.refused("PATCH", _path(instance), 400, content=body)
        assert error["kind"] == "invalid"


@pytest.mark.parametrize("body", [{}, {"patch": []}, {"patch": "x"}, {"patch": {}, "more": 1}, [], "text", 1], ids=str)
async def test_a_body_of_another_shape_is_refused(rest: Rest, body: Any) -> None:
    instance = await rest.an_instance()
    assert (await rest.refused("PATCH", _path(instance), 400, json=body))["code"] == "rest.invalid"


async def test_an_environment_stays_usable_after_one_of_its_services_was_deleted(rest: Rest) -> None:
    instance = await rest.an_instance()
    await _patch(rest, instance, {"deploy": {"numReplicas": 2}})
    await rest.call("DELETE", f"/v1/services/{instance['service_id']}")
    made = await rest.call("POST", f"/v1/projects/{instance['project_id']}/services", json={"name": "api"})
    patch = {"services": {made["id"]: {"deploy": {"numReplicas": 3}}}}
    assert (await rest.call("PATCH", _path(instance), json={"patch": patch}))["version"] == 2
    gone = {"services": {instance["service_id"]: {"deploy": {"numReplicas": 4}}}}
    assert (await rest.refused("PATCH", _path(instance), 400, json={"patch": gone}))[
        "code"
    ] == "projects.config_refused"
