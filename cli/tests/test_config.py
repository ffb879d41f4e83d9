"""Settings of a service: what there is comes from the contract; values, keys and patches go as they were meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness import Process, Run
from trackside_cli import settings
from twin import Json, Platform, Refused

CONTRACT = Path(__file__).parents[2] / "contract" / "openapi.json"
SCHEMA = json.loads(CONTRACT.read_text())["components"]["schemas"]["ServiceConfig"]
KNOWN = list(settings.described(SCHEMA))


@pytest.fixture
def instance(platform: Platform) -> Json:
    platform.a_project("demo", "web")
    return platform.instance()


def patches(platform: Platform) -> list[Json]:
    return [body["patch"] for body in platform.sent("PATCH", "/config")]


def test_what_is_set_and_what_is_default_is_told(trackside: Run, platform: Platform, instance: Json) -> None:
    assert trackside("config", "set", "deploy.port=8000", "build.buildArguments.A.B=x y").code == 0
    ran = trackside("config", "get")
    rows = {line.split()[0]: line.split()[1:] for line in ran.out.splitlines()}
    assert rows["KEY"] == ["VALUE", "FROM"]
    assert rows["deploy.port"] == ["8000", "set"]
    assert rows["deploy.healthcheckTimeout"] == ["300", "default"]
    assert rows["deploy.startCommand"] == ["default"]
    assert rows["build.buildArguments.A.B"] == ["x", "y", "set"]
    assert len(rows) == len(KNOWN) + 1


def test_settings_as_json_carry_the_values_as_they_are(trackside: Run, instance: Json) -> None:
    trackside("config", "set", "deploy.limitOverride.containers.cpu=0.5")
    assert trackside("config", "get", "deploy.limitOverride", "deploy.port", "--json").json == [
        {"key": "deploy.limitOverride.containers.cpu", "value": 0.5, "is_default": False, "is_used": True},
        {"key": "deploy.limitOverride.containers.memoryBytes", "value": None, "is_default": True, "is_used": True},
        {"key": "deploy.port", "value": None, "is_default": True, "is_used": True},
    ]


def test_a_key_that_the_platform_ignores_is_shown_as_not_used_and_can_be_unset(
    trackside: Run, platform: Platform, instance: Json
) -> None:
    patch = {"services": {instance["service_id"]: {"deploy": {"cronSchedule": "* * * * *"}}}}
    platform.configs[instance["environment_id"]] = [{"patch": patch, "message": ""}]
    assert trackside("config", "get", "deploy.cronSchedule").out.splitlines()[1].endswith("set, not used")
    assert trackside("config", "unset", "deploy.cronSchedule").out.startswith("Changed deploy.cronSchedule.")
    assert platform.settings(instance) == {"deploy": {}}


def test_a_set_is_one_patch_of_one_service_with_a_message(trackside: Run, platform: Platform, instance: Json) -> None:
    ran = trackside("config", "set", "deploy.healthcheckPath=/health", "deploy.port=8000", "--json")
    assert ran.json == {"version": 1, "changed": ["deploy.healthcheckPath", "deploy.port"]}
    (body,) = platform.sent("PATCH", "/config")
    assert body == {
        "patch": {"services": {instance["service_id"]: {"deploy": {"healthcheckPath": "/health", "port": 8000}}}},
        "message": "settings of web: deploy.healthcheckPath, deploy.port",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deploy.port=8000", 8000),
        ("deploy.port=x", "x"),
        ("deploy.port=null", None),
        ("deploy.overlapSeconds=1.5", 1.5),
        ("deploy.overlapSeconds=NaN", "NaN"),
        ("deploy.overlapSeconds=1e999", "1e999"),
        ("deploy.startCommand=true", "true"),
        ("deploy.startCommand=8000", "8000"),
        ('deploy.startCommand="a b"', "a b"),
        ("deploy.startCommand=a=b", "a=b"),
        ("deploy.startCommand=", ""),
        ("deploy.startCommand=é 🚂", "é 🚂"),
        ('deploy.preDeployCommand=["a","b"]', ["a", "b"]),
        ("build.buildArguments.VERSION=1.40", "1.40"),
        ('build.buildArguments={"A":"1"}', {"A": "1"}),
        ("deploy.startCommand=" + "[" * 100_000, "[" * 100_000),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_is_json_where_it_can_be_else_text(text: str, expected: Any) -> None:
    assert settings.assignment(text, KNOWN)[1] == expected


def test_a_typing_error_names_the_key_and_what_there_is(trackside: Run, platform: Platform, instance: Json) -> None:
    for arguments in (("set", "deploy.healthcheckpath=/x"), ("get", "healthchekPath"), ("unset", "healthcheckPath")):
        ran = trackside("config", *arguments)
        assert ran.code == 2
        assert f"There is no setting “{arguments[1].split('=')[0]}”." in ran.err
        assert "hint: Did you mean `deploy.healthcheckPath`" in ran.err
        assert "`trackside config get` lists all." in ran.err
        assert "build.buildCommand" not in ran.err
        assert ran.err.endswith("code: cli.unknown_setting\n")
    assert patches(platform) == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("deploy.port",),
        ("=1",),
        ("deploy={}",),
        ("deploy.port.x=1",),
        ("deploy.port=1", "deploy.port=2"),
        ("build.buildArguments=null", "build.buildArguments.A=1"),
        ("build.buildArguments.A=1", "build.buildArguments={}"),
        ("build.buildArguments.=1",),
        ("variables.A=1",),
    ],
)
def test_a_set_that_means_nothing_changes_nothing(
    trackside: Run, platform: Platform, instance: Json, arguments: tuple[str, ...]
) -> None:
    assert trackside("config", "set", *arguments).code == 2
    assert patches(platform) == []


def test_bytes_that_are_no_text_are_refused(process: Process, platform: Platform, instance: Json) -> None:
    for argument in (b"deploy.startCommand=\xff", b"deploy.\xff=1"):
        ran = process("config", "set", argument)
        assert ran.returncode == 2
        assert b"Traceback" not in ran.stderr
    assert patches(platform) == []


def test_what_the_platform_refuses_is_told_in_its_words(trackside: Run, platform: Platform, instance: Json) -> None:
    told = "`deploy.healthcheckTimeout` must be a number from 1 to 3600, not 0."
    asked: list[str] = []

    def refuse_the_patch(path: str) -> None:
        asked.append(path)
        if sum(path.endswith("/config") for path in asked) == 2:
            raise Refused("invalid", told, "projects.config_refused", "See the reference.")

    platform.on_request = refuse_the_patch
    ran = trackside("config", "set", "deploy.healthcheckTimeout=0", "-p", "demo", "-s", "web")
    assert ran.code == 2
    assert ran.err.splitlines()[0] == f"error: {told}"


def test_it_says_when_the_change_takes_effect_and_how(trackside: Run, platform: Platform, instance: Json) -> None:
    assert (
        trackside("config", "set", "deploy.port=80").out == "Changed deploy.port. The first deployment will have it.\n"
    )
    platform.a_deployment(instance, status="SUCCESS")
    assert trackside("config", "set", "deploy.port=81", "--service", "web").out == (
        "Changed deploy.port. What runs stays as it is until the next deployment: `trackside deploy --service web`.\n"
    )
    assert trackside("config", "set", "deploy.port=81").out == "Nothing changed.\n"
    assert trackside("config", "unset", "deploy.startCommand", "--json").json == {"version": 2, "changed": []}
    assert platform.sent("POST", "/deployments") == []


def test_other_services_and_environments_are_left_alone(trackside: Run, platform: Platform) -> None:
    project = platform.a_project("demo", "web", "api")
    staging = platform.an_environment(project, "staging")
    trackside("config", "set", "deploy.port=80", "--service", "api", "--environment", "staging")
    assert [list(patch["services"]) for patch in patches(platform)] == [[project["services"][1]["id"]]]
    assert list(platform.configs) == [staging["id"]]


def test_a_platform_that_does_not_tell_its_settings_is_told_in_a_sentence(
    trackside: Run, platform: Platform, instance: Json
) -> None:
    platform.refuse("/schema", Refused("missing", "There is nothing here."))
    ran = trackside("config", "get")
    assert (ran.code, ran.out) == (5, "")
