"""`up`, `deploy`, `rollback`, `redeploy`, `cancel`: what they send, what they show, how they end."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from harness import REPOSITORY, Process, Run
from twin import FAILS, LATER, STAYS, SUCCEEDS, Course, Json, Platform, a_step


def names_in(packed: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        return archive.getnames()


def test_up_makes_project_and_service_named_after_the_directory(trackside: Run, platform: Platform, app: Path) -> None:
    ran = trackside("up", str(app))
    assert (ran.code, ran.out) == (0, "http://web-production.localhost:7780\n")
    assert [one["name"] for one in platform.projects] == ["my-shop"]
    assert [one["name"] for one in platform.projects[0]["services"]] == ["my-shop"]
    assert names_in(*platform.uploads.values()) == ["main.py"]


def test_up_takes_what_is_there_the_second_time(trackside: Run, platform: Platform, app: Path) -> None:
    trackside("up", str(app))
    trackside("up", str(app))
    assert len(platform.projects) == 1
    assert len(platform.projects[0]["services"]) == 1
    assert len(platform.deployments) == 2


def test_up_leaves_the_only_other_project_alone(trackside: Run, platform: Platform, app: Path) -> None:
    platform.a_project("demo", "hello")
    trackside("up", str(app))
    assert [one["name"] for one in platform.projects] == ["demo", "my-shop"]


def test_up_goes_where_the_flags_say(trackside: Run, platform: Platform, app: Path) -> None:
    project = platform.a_project("demo", "hello", "web")
    platform.an_environment(project, "preview")
    ran = trackside("up", str(app), "-p", "demo", "-e", "preview", "-s", "web", "--path", "sub", "--json")
    (deployment,) = platform.deployments.values()
    assert ran.code == 0
    assert deployment["service_instance_id"] == project["environments"][1]["service_instances"][1]["id"]
    assert deployment["source"]["directory"] == "sub"


def test_up_into_an_unknown_environment_names_the_choices(trackside: Run, platform: Platform, app: Path) -> None:
    platform.a_project("demo", "hello")
    ran = trackside("up", str(app), "-p", "demo", "-e", "nowhere")
    assert ran.code == 5
    assert "There are: production." in ran.err
    assert not platform.uploads


def test_up_shows_steps_build_lines_and_times_on_stderr(trackside: Run, platform: Platform, app: Path) -> None:
    platform.a_project("my-shop", "web")

    def on_read(deployment: Json) -> None:
        if deployment["status"] == "BUILDING":
            platform.a_line(deployment, "\x1b[32minstalling\x1b[0m\x07", kind="build")

    platform.on_read = on_read
    ran = trackside("up", str(app))
    assert "✓ Snapshot code  2.5 s" in ran.err
    assert "  installing\n" in ran.err
    assert "Pre deploy command" not in ran.err
    assert "Deployed in 2.5 s." in ran.err
    assert "\x1b" not in ran.err


@pytest.mark.parametrize("end", [(SUCCEEDS, 0, "SUCCESS"), (FAILS, 1, "FAILED")])
def test_json_ends_with_one_object(trackside: Run, platform: Platform, app: Path, end: tuple[Course, int, str]) -> None:
    platform.course, code, status = end
    ran = trackside("up", str(app), "--json")
    (line,) = ran.out.splitlines()
    (deployment,) = platform.deployments.values()
    assert ran.code == code
    assert json.loads(line) == {
        "deployment_id": deployment["id"],
        "status": status,
        "reason": deployment["reason"],
        "url": deployment["url"],
    }
    assert ran.err == ""


@pytest.mark.parametrize("status", ["CRASHED", "SKIPPED", "REMOVED"])
def test_every_end_but_success_is_a_failure(trackside: Run, platform: Platform, status: str) -> None:
    platform.a_project("demo", "web")
    platform.course = [{"status": status}]
    assert trackside("deploy", "--repo", REPOSITORY).code == 1


def test_failure_shows_reason_hint_and_the_last_lines(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.course = FAILS

    def on_read(deployment: Json) -> None:
        if not platform.lines:
            platform.a_line(deployment, "Traceback: boom")

    platform.on_read = on_read
    ran = trackside("deploy", "--repo", REPOSITORY)
    assert ran.out == ""
    for part in (
        "FAILED: The app never answered on port 8080.",
        "hint: Listen on $PORT.",
        "code: deployments.unheard_of",
        "Traceback: boom",
        "✗ Healthcheck: no answer",
    ):
        assert part in ran.err


def test_detached_does_not_wait(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.course = STAYS
    ran = trackside("deploy", "--repo", REPOSITORY, "--detach", "--json")
    assert (ran.code, ran.json["status"]) == (0, "INITIALIZING")


def test_deploy_sends_a_repository_with_all_its_parts(
    trackside: Run, platform: Platform, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.a_project("demo", "web")
    key = home / "key"
    key.write_text("-----BEGIN KEY-----\nx\n-----END KEY-----\n")
    monkeypatch.setenv("GIT_TOKEN", "s3cret")
    flags = (
        "--ref",
        "v1",
        "--path",
        "app",
        "--token-env",
        "GIT_TOKEN",
        "--key-file",
        str(key),
        "--known-host",
        "h ssh-ed25519 A",
    )
    assert trackside("deploy", "--repo", REPOSITORY, *flags).code == 0
    assert platform.sent("POST", "/deployments") == [
        {
            "source": {
                "kind": "git",
                "url": REPOSITORY,
                "reference": "v1",
                "directory": "app",
                "token": "s3cret",
                "private_key": key.read_text(),
                "known_host": "h ssh-ed25519 A",
            }
        }
    ]


def test_deploy_reads_a_token_from_stdin(process: Process, platform: Platform) -> None:
    platform.a_project("demo", "web")
    assert process("deploy", "--repo", REPOSITORY, "--token-stdin", given=b"from-stdin\n").returncode == 0
    assert platform.sent("POST", "/deployments")[0]["source"]["token"] == "from-stdin"


def test_deploy_sends_an_image(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    assert trackside("deploy", "--image", "example.com/app:1").code == 0
    assert platform.sent("POST", "/deployments") == [{"source": {"kind": "image", "reference": "example.com/app:1"}}]


def test_deploy_without_a_source_repeats_the_configured_one(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    assert trackside("deploy").code == 0
    assert platform.sent("POST", "/deployments") == [{}]


def test_deploy_makes_the_service_that_is_named(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    assert trackside("deploy", "--image", "redis:7", "--service", "cache").code == 0
    assert [one["name"] for one in platform.projects[0]["services"]] == ["web", "cache"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (("--repo", REPOSITORY), "shop"),
        (("--repo", "git@example.com:team/Shop_2.git"), "shop-2"),
        (("--image", "example.com:5000/team/app:1.2"), "app"),
        (("--image", f"app@sha256:{'a' * 64}"), "app"),
    ],
)
def test_deploy_to_an_empty_platform_names_things_after_the_source(
    trackside: Run, platform: Platform, source: tuple[str, str], name: str
) -> None:
    assert trackside("deploy", *source).code == 0
    assert [one["name"] for one in platform.projects] == [name]
    assert [one["name"] for one in platform.projects[0]["services"]] == [name]


@pytest.mark.parametrize(
    "flags",
    [
        ("--repo", REPOSITORY, "--image", "x"),
        ("--ref", "main"),
        ("--token-stdin",),
        ("--repo", "https://user:pass@example.com/x.git"),
        ("--repo", "https://pass@example.com/x.git"),
        ("--repo", "HTTP://pass@example.com/x.git"),
        ("--repo", "ssh://user:pass@example.com/x.git"),
        ("--repo", REPOSITORY, "--token-env", "NOT_SET_ANYWHERE"),
    ],
)
def test_deploy_refuses_flags_that_do_not_fit(trackside: Run, platform: Platform, flags: tuple[str, ...]) -> None:
    platform.a_project("demo", "web")
    ran = trackside("deploy", *flags)
    assert ran.code == 2
    assert "pass@" not in ran.err
    assert not platform.deployments


def test_rollback_goes_to_the_last_success_before_the_active_one(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    instance = platform.instance()
    served = {"image_id": "sha256:1", "steps": [a_step("HEALTHCHECK"), a_step("DRAIN_INSTANCES")]}
    platform.a_deployment(instance, [], status="REMOVED", **served)
    wanted = platform.a_deployment(instance, [], status="REMOVED", **served)
    platform.a_deployment(instance, [], status="REMOVED", image_id="sha256:2", steps=[a_step("HEALTHCHECK")])
    platform.a_deployment(instance, [], status="FAILED", image_id="sha256:2", steps=[a_step("HEALTHCHECK", error="no")])
    platform.a_deployment(instance, [], status="SUCCESS", **served)
    platform.a_deployment(instance, [], status="FAILED")
    ran = trackside("rollback", "--json")
    assert (ran.code, ran.json["status"]) == (0, "SUCCESS")
    assert platform.requests[-5][1] == f"/v1/deployments/{wanted['id']}/rollback"


@pytest.mark.parametrize("present", ["SUCCESS", "CRASHED"])
@pytest.mark.parametrize("since", [("restart",), ("restart", "restart"), ("rollback",), ("rollback", "restart")])
def test_rollback_passes_over_what_only_brought_the_present_version_again(
    trackside: Run, platform: Platform, since: tuple[str, ...], present: str
) -> None:
    platform.a_project("demo", "web")
    instance = platform.instance()
    served = {"image_id": "sha256:1", "steps": [a_step("DRAIN_INSTANCES")]}
    wanted = platform.a_deployment(instance, [], status="REMOVED", **served)
    bad = platform.a_deployment(instance, [], status="REMOVED", **served)
    for number, trigger in enumerate(since, start=1):
        status = present if number == len(since) else "REMOVED"
        of = bad["id"] if trigger == "rollback" else None
        platform.a_deployment(instance, [], status=status, trigger=trigger, rollback_of=of, **served)
    ran = trackside("rollback")
    assert ran.code == 0
    assert platform.sent("POST", f"/{wanted['id']}/rollback") == [{}]
    assert wanted["id"] in ran.err


@pytest.mark.parametrize("command", ["rollback", "redeploy", "cancel"])
def test_a_deployment_of_another_service_than_the_one_named_is_not_touched(
    trackside: Run, platform: Platform, command: str
) -> None:
    platform.a_project("demo", "web")
    theirs = platform.a_deployment(platform.instance(), [], status="REMOVED")
    platform.a_project("shop", "web")
    ran = trackside(command, theirs["id"], "--project", "shop")
    assert ran.code == 5
    assert "is no deployment of “web”" in ran.err
    assert not platform.sent("POST", f"/{command}")


def test_rollback_without_an_earlier_one_says_so(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.a_deployment(platform.instance(), [], status="SUCCESS", image_id="sha256:1")
    ran = trackside("rollback")
    assert ran.code == 5
    assert "There is no earlier deployment" in ran.err


def test_rollback_and_redeploy_take_a_named_deployment_without_asking_for_a_project(
    trackside: Run, platform: Platform
) -> None:
    platform.a_project("demo", "web")
    platform.a_project("other", "web")
    one = platform.a_deployment(platform.instance(), [], status="REMOVED")
    for command in ("rollback", "redeploy"):
        assert trackside(command, one["id"]).code == 0
        assert platform.sent("POST", f"/{one['id']}/{command}") == [{}]


def test_redeploy_repeats_the_newest(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.a_deployment(platform.instance(), [], status="SUCCESS")
    newest = platform.a_deployment(platform.instance(), [], status="FAILED")
    assert trackside("redeploy").code == 0
    assert platform.sent("POST", f"/{newest['id']}/redeploy")


@pytest.mark.parametrize("text", ["..", "", "abc", "../projects"])
def test_what_is_no_id_never_reaches_the_platform(trackside: Run, platform: Platform, text: str) -> None:
    assert trackside("redeploy", text).code in (2, 5)
    assert not platform.sent("POST", "/redeploy")


def test_cancel_ends_the_newest_on_its_way(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.a_deployment(platform.instance(), [], status="SUCCESS")
    wanted = platform.a_deployment(platform.instance(), STAYS, status="BUILDING")
    ran = trackside("cancel", "--json")
    assert (ran.code, ran.json["id"], ran.json["status"]) == (0, wanted["id"], "REMOVED")


def test_cancel_with_nothing_on_its_way_says_so(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.a_deployment(platform.instance(), [], status="REMOVING")
    platform.a_deployment(platform.instance(), [], status="SUCCESS")
    assert trackside("cancel").code == 5


def test_took_is_counted_to_the_end(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.a_deployment(platform.instance(), [], status="FAILED", ended_at=LATER, reason="No.")
    assert "2.5 s" in trackside("deployments").out
