"""The settings that the API's description tells of are those that the config door accepts, with the bounds it keeps."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from rest.client import Rest


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each setting of the description, with the way to it."""
    for name, part in schema["properties"].items():
        if "properties" in part:
            yield from leaves(part, (*path, name))
        else:
            yield (*path, name), part


async def described(rest: Rest) -> dict[tuple[str, ...], dict[str, Any]]:
    """As the command line reads it: without a token, from the served description."""
    document = (await rest.client.get("/v1/schema")).json()
    return dict(leaves(document["components"]["schemas"]["ServiceConfig"]))


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    patch = value
    for part in reversed(path):
        patch = {part: patch}
    return patch


async def patched(rest: Rest, instance: dict[str, Any], patch: dict[str, Any]) -> Any:
    body = {"patch": {"services": {instance["service_id"]: patch}}}
    return await rest.send("PATCH", f"/v1/environments/{instance['environment_id']}/config", json=body)


def fitting(setting: dict[str, Any]) -> list[Any]:
    """Values that the description allows."""
    if "enum" in setting:
        return setting["enum"]
    if "minimum" in setting:
        return [setting["minimum"], setting["maximum"]]
    kind = setting["type"]
    return (
        {"string": ["/text"], "object": [{}]}.get(kind, ["text", ["a", "b"]])
        if isinstance(kind, str)
        else ["text", ["a"]]
    )


def unfit(setting: dict[str, Any]) -> list[Any]:
    """Values just beside what the description allows."""
    if "minimum" in setting:
        whole = [1.5] if setting["type"] == "integer" else []
        return [setting["minimum"] - 0.001, setting["maximum"] + 1, "text", True, *whole]
    return ["NONSENSE"] if "enum" in setting else [7, True]


async def test_every_value_that_the_description_allows_is_accepted(rest: Rest) -> None:
    instance = await rest.an_instance()
    for path, setting in (await described(rest)).items():
        for value in [*fitting(setting), setting.get("default")]:
            response = await patched(rest, instance, nested(path, value))
            assert response.status_code == 200, f"{path}: {value}: {response.text}"


async def test_every_value_beside_it_is_refused_with_the_whole_key(rest: Rest) -> None:
    instance = await rest.an_instance()
    for path, setting in (await described(rest)).items():
        for value in unfit(setting):
            response = await patched(rest, instance, nested(path, value))
            error = response.json().get("error", {})
            assert error.get("code") == "projects.config_refused", f"{path}: {value}: {response.text}"
            assert f"`{'.'.join(path)}`" in error["message"]


async def test_a_domain_s_port_has_the_bounds_of_a_port(rest: Rest) -> None:
    instance = await rest.an_instance()
    path = ("networking", "serviceDomains", "shop.example.com", "port")
    assert (await patched(rest, instance, nested(path, 8080))).status_code == 200
    error = (await patched(rest, instance, nested(path, 0))).json()["error"]
    assert error["message"].startswith("`networking.serviceDomains.shop.example.com.port` must be a number from 1 to")


@pytest.mark.parametrize("path", ["d/" * 2049, f"a/{'n' * 256}/b", "ü" * 128])
async def test_a_path_that_no_file_could_have_is_refused_with_its_key(rest: Rest, path: str) -> None:
    instance = await rest.an_instance()
    for patch in ({"build": {"dockerfilePath": path}}, {"source": {"kind": "git", "url": "x", "directory": path}}):
        error = (await patched(rest, instance, patch)).json()["error"]
        assert error["code"] == "projects.config_refused"
        assert re.fullmatch(r"`(build.dockerfilePath|source.directory)` .* at most (4096|255)\.", error["message"])
    deployments = f"/v1/service-instances/{instance['id']}/deployments"
    source = {"kind": "git", "url": "https://example.org/x.git", "directory": path}
    refused = await rest.refused("POST", deployments, 400, json={"source": source})
    assert (refused["code"], refused["message"][:18]) == ("builds.source_refused", "`source.directory`")


async def test_a_changed_setting_deploys_nothing(rest: Rest) -> None:
    instance = await rest.an_instance()
    await rest.serve(await rest.deploy(instance["id"]))
    assert (await patched(rest, instance, {"deploy": {"port": 8000}})).status_code == 200
    found = await rest.call("GET", f"/v1/service-instances/{instance['id']}/deployments")
    assert len(found["deployments"]) == 1
