"""Which project, environment and service a command means, links, and the commands that make and delete them."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness import Run
from trackside_cli import scope
from twin import Platform, Refused


def test_the_only_ones_are_taken(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    assert trackside("deployments", "--json").json == []


def test_one_of_several_must_be_named_and_the_choices_are_shown(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web", "worker")
    platform.a_project("shop", "web")
    ran = trackside("deployments")
    assert ran.code == 2
    assert "Which project? There are 2." in ran.err
    assert "demo, shop" in ran.err
    ran = trackside("deployments", "-p", "demo")
    assert ran.code == 2
    assert "There are: web, worker." in ran.err
    assert trackside("deployments", "-p", "demo", "-s", "web").code == 0


def test_ids_name_as_well_as_names(trackside: Run, platform: Platform) -> None:
    project = platform.a_project("demo", "web", "worker")
    environment = platform.an_environment(project, "preview")
    flags = ("-p", project["id"], "-e", environment["id"], "-s", project["services"][1]["id"])
    assert trackside("scale", "3", *flags, "--json").json["id"] == environment["service_instances"][1]["id"]


@pytest.mark.parametrize(
    "flags", [("-p", "nope"), ("-e", "nope"), ("-s", "nope"), ("-p", "5d0f7a4e-0000-7000-8000-000000000000")]
)
def test_what_is_not_there_is_missing(trackside: Run, platform: Platform, flags: tuple[str, str]) -> None:
    platform.a_project("demo", "web")
    assert trackside("deployments", *flags).code == 5


def test_an_empty_platform_says_how_to_begin(trackside: Run) -> None:
    ran = trackside("deployments")
    assert ran.code == 5
    assert "trackside up" in ran.err


def test_the_directory_name_decides_between_several(
    trackside: Run, platform: Platform, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.a_project("demo", "web")
    platform.a_project("my-shop", "web")
    (home / "My Shop").mkdir()
    monkeypatch.chdir(home / "My Shop")
    instance = platform.instance(1)
    assert trackside("restart", "--json").json["id"] == instance["id"]


def test_a_link_holds_here_and_below_and_flags_overrule_it(
    trackside: Run, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.a_project("demo", "web", "worker")
    preview = platform.an_environment(platform.projects[0], "preview")
    platform.a_project("shop", "web")
    assert trackside("link", "-p", "demo", "-e", "preview", "-s", "worker").code == 0
    (Path.cwd() / "below").mkdir()
    monkeypatch.chdir("below")
    worker, web = preview["service_instances"][1], preview["service_instances"][0]
    assert trackside("restart", "--json").json["id"] == worker["id"]
    assert trackside("restart", "-s", "web", "--json").json["id"] == web["id"]
    assert trackside("restart", "-p", "shop", "--json").json["id"] == platform.instance(1)["id"]
    assert [one["name"] for one in trackside("status", "--json").json] == ["demo"]


def test_up_follows_the_link_of_the_directory_it_uploads(
    trackside: Run, platform: Platform, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.a_project("demo", "web")
    (home / "shop").mkdir()
    (home / "shop" / "main.py").write_text("x")
    trackside("link", "-p", "demo", "-s", "web")
    trackside("up", str(home / "shop"))
    assert [one["name"] for one in platform.projects] == ["demo", "shop"]
    monkeypatch.chdir(home / "shop")
    trackside("link", "-p", "demo", "-s", "web")
    monkeypatch.chdir(home)
    trackside("up", str(home / "shop"))
    assert platform.instance()["latest_deployment"]


def test_a_link_may_be_to_a_whole_project(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web", "worker")
    ran = trackside("link", "--json")
    assert (ran.json["project"], ran.json["service"]) == ("demo", None)
    assert trackside("restart", "-s", "web").code == 0


def test_a_link_of_another_platform_is_not_followed(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    trackside("link")
    path = Path(".trackside.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"api_url": "http://evil.example", "project_id": "x"}))
    assert trackside("restart").code == 0


def test_a_link_to_a_project_that_is_gone_says_so(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    trackside("link")
    platform.projects.clear()
    ran = trackside("restart")
    assert ran.code == 5
    assert "linked to is gone" in ran.err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"api_url": 3}'])
def test_a_damaged_link_says_so(trackside: Run, platform: Platform, text: str) -> None:
    Path(".trackside.json").write_text(text)
    ran = trackside("restart")
    assert ran.code == 1
    assert ".trackside.json" in ran.err


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My Shop", "my-shop"),
        ("01-hello", "hello"),
        ("2048", "app-2048"),
        ("été", "t"),
        ("_", "app"),
        ("a" * 50, "a" * 32),
    ],
)
def test_names_of_directories_become_names_of_projects(text: str, name: str) -> None:
    assert scope.slug(text) == name


# --- projects, environments, services ---


def test_projects_are_made_listed_and_deleted(trackside: Run, platform: Platform) -> None:
    made = trackside("project", "create", "demo", "--json").json
    assert made["name"] == "demo"
    assert trackside("project", "list", "--json").json == [made]
    assert "demo" in trackside("project", "list").out
    assert trackside("project", "delete", "demo", "--yes").code == 0
    assert trackside("project", "list", "--json").json == []


def test_a_taken_name_is_a_conflict(trackside: Run, platform: Platform) -> None:
    trackside("project", "create", "demo")
    assert trackside("project", "create", "demo").code == 6


def test_environments_are_made_listed_and_deleted(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    made = trackside("environment", "create", "preview", "--json").json
    listed = trackside("environment", "list", "--json").json
    assert [one["name"] for one in listed] == ["production", "preview"]
    assert listed[1]["id"] == made["id"]
    assert "preview" in trackside("environment", "list", "-p", "demo").out
    assert trackside("environment", "delete", "preview", "--yes").code == 0
    assert [one["name"] for one in platform.projects[0]["environments"]] == ["production"]


def test_an_environment_to_delete_must_be_named(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    assert trackside("environment", "delete", "--yes").code == 2
    assert platform.projects[0]["environments"]


def test_services_are_made_listed_and_deleted(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo")
    made = trackside("service", "create", "web", "--json").json
    assert trackside("service", "list", "--json").json == [made]
    assert "production: not deployed" in trackside("service", "list").out
    assert trackside("service", "delete", "--service", "web", "--yes").code == 0
    assert trackside("service", "list", "--json").json == []


@pytest.mark.parametrize(
    "command", [("project", "delete", "demo"), ("environment", "delete", "production"), ("service", "delete", "web")]
)
def test_nothing_is_deleted_without_a_yes_where_nobody_can_be_asked(
    trackside: Run, platform: Platform, command: tuple[str, ...]
) -> None:
    platform.a_project("demo", "web")
    before: Any = json.dumps(platform.projects)
    ran = trackside(*command)
    assert ran.code == 2
    assert "Add --yes." in ran.err
    assert json.dumps(platform.projects) == before


def test_two_who_make_the_same_project_at_once_both_go_on(trackside: Run, platform: Platform) -> None:
    project = platform.a_project("demo", "web")
    platform.projects.clear()

    def other_was_quicker(path: str) -> None:
        if path.endswith("/projects") and not platform.projects and platform.sent("GET", "/projects"):
            platform.projects.append(project)

    platform.on_request = other_was_quicker
    assert trackside("deploy", "--image", "x", "-p", "demo", "-s", "web").code == 0


def test_a_denied_command_is_denied(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.refuse("/restart", Refused("denied", "You may not restart this."))
    assert trackside("restart").code == 4
