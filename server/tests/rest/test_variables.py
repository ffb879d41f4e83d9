"""Variables at the REST door: byte-exact, apart from the config, deployed with what serves."""

from typing import Any

import pytest

from rest.client import Rest

VALUES = {
    "PLAIN": "value",
    "EMPTY": "",
    "NEWLINES": "a\nb\r\n\tc\n",
    "QUOTES": "'single' \"double\" `back`",
    "DOLLARS": "$HOME ${PATH} $$ $(id)",
    "BACKSLASHES": "\\n \\ \\\\",
    "UNICODE": "".join(map(chr, (0x17C, 0x1F682, 0x202E, 0xFEFF, 0x7F, 0x1B))),
    "LONGEST": "x" * (64 << 10),
    "SPACES": "  both sides  ",
    "JSON": '{"a": [1, null]}',
    "_under_score_9": "lower",
}
REFUSED: list[dict[str, str | None]] = [
    {"1BAD": "x"},
    {"": "x"},
    {"A-B": "x"},
    {"A B": "x"},
    {chr(228): "x"},
    {"A\n": "x"},
    {"A=B": None},
    {"A" * 201: "x"},
    {"NUL": "a" + chr(0) + "b"},
    {"LONG": "x" * ((64 << 10) + 1)},
    {"LONG_IN_BYTES": chr(0x17C) * ((32 << 10) + 1)},
]


def _path(instance_id: str) -> str:
    return f"/v1/service-instances/{instance_id}/variables"


async def _set(rest: Rest, instance_id: str, values: dict[str, str | None], **more: bool) -> dict[str, Any]:
    return await rest.call("PATCH", _path(instance_id), json={"variables": values, **more})


async def _values(rest: Rest, instance_id: str) -> dict[str, str]:
    found = await rest.call("GET", _path(instance_id), params={"reveal": "true"})
    return {variable["name"]: variable["value"] for variable in found["variables"]}


async def test_values_come_back_byte_for_byte(rest: Rest) -> None:
    instance = await rest.an_instance()
    changed = await _set(rest, instance["id"], dict(VALUES))
    assert changed == {"deployment": None, "changed": sorted(VALUES)}
    assert await _values(rest, instance["id"]) == VALUES


async def test_values_are_told_only_when_asked_for(rest: Rest) -> None:
    instance = await rest.an_instance()
    await _set(rest, instance["id"], {"PASSWORD": "correct horse"})
    found = await rest.call("GET", _path(instance["id"]))
    assert found == {"variables": [{"name": "PASSWORD", "value": None}]}


async def test_the_config_holds_secret_versions_never_values(rest: Rest) -> None:
    instance = await rest.an_instance()
    await _set(rest, instance["id"], {"PASSWORD": "correct horse"})
    config = await rest.send("GET", f"/v1/environments/{instance['environment_id']}/config")
    assert "secretVersion" in config.text
    assert "correct horse" not in config.text


async def test_null_deletes_and_only_what_really_changed_is_told(rest: Rest) -> None:
    instance = await rest.an_instance()
    await _set(rest, instance["id"], {"A": "1", "B": "2"})
    changed = await _set(rest, instance["id"], {"A": "1", "B": None, "C": "3", "GONE": None})
    assert changed["changed"] == ["B", "C"]
    assert await _values(rest, instance["id"]) == {"A": "1", "C": "3"}


async def test_a_bad_variable_is_refused_and_none_of_the_patch_is_set(rest: Rest) -> None:
    instance = await rest.an_instance()
    for bad in REFUSED:
        error = await rest.refused("PATCH", _path(instance["id"]), 400, json={"variables": {"GOOD": "1", **bad}})
        assert error["code"] == "projects.variable_refused", bad
        assert "x" * 1000 not in error["message"]
    assert await _values(rest, instance["id"]) == {}


async def test_half_a_character_is_refused(rest: Rest) -> None:
    instance = await rest.an_instance()
    body = b'{"variables": {"A": "\\ud800"}}'
    assert (await rest.refused("PATCH", _path(instance["id"]), 400, content=body))["kind"] == "invalid"


@pytest.mark.parametrize("body", [{}, {"variables": {"A": 1}}, {"variables": ["A"]}, {"variables": None}], ids=str)
async def test_a_body_of_another_shape_is_refused(rest: Rest, body: object) -> None:
    instance = await rest.an_instance()
    assert (await rest.refused("PATCH", _path(instance["id"]), 400, json=body))["code"] == "rest.invalid"


async def test_a_change_deploys_what_serves_with_the_same_image(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    deployment = (await _set(rest, served["service_instance_id"], {"A": "1"}))["deployment"]
    assert (deployment["trigger"], deployment["status"]) == ("variables", "DEPLOYING")
    assert deployment["image_id"] == served["image_id"]


async def test_a_change_of_what_the_build_reads_is_built_anew(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment(), build_variables=("A",))
    kept = (await _set(rest, served["service_instance_id"], {"B": "1"}))["deployment"]
    built = (await _set(rest, served["service_instance_id"], {"A": "1"}))["deployment"]
    assert kept["status"] == "DEPLOYING"
    assert (built["status"], built["image_id"]) == ("QUEUED", None)


async def test_a_change_can_wait_for_the_next_deployment(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    changed = await _set(rest, served["service_instance_id"], {"A": "1"}, skip_deploy=True)
    assert changed == {"deployment": None, "changed": ["A"]}


async def test_nothing_is_deployed_where_nothing_changed(rest: Rest) -> None:
    served = await rest.serve(await rest.a_deployment())
    await _set(rest, served["service_instance_id"], {"A": "1"}, skip_deploy=True)
    assert await _set(rest, served["service_instance_id"], {"A": "1"}) == {"deployment": None, "changed": []}


async def test_an_image_that_may_have_been_built_for_a_start_command_that_is_gone_is_built_again(rest: Rest) -> None:
    command = {"deploy": {"startCommand": "python shop.py"}}
    served = await rest.serve(await rest.deploy((await rest.an_instance())["id"], settings=command))
    first = (await _set(rest, served["service_instance_id"], {"A": "1"}))["deployment"]
    assert (first["status"], first["image_id"]) == ("DEPLOYING", served["image_id"])
    instance = await rest.call("GET", f"/v1/service-instances/{served['service_instance_id']}")
    patch = {"services": {instance["service_id"]: {"deploy": {"startCommand": None}}}}
    await rest.call("PATCH", f"/v1/environments/{instance['environment_id']}/config", json={"patch": patch})
    second = (await _set(rest, served["service_instance_id"], {"A": "2"}))["deployment"]
    assert (second["status"], second["image_id"]) == ("QUEUED", None)
