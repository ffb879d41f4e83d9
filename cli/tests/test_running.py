"""Variables, scale, restart, down, status, open, and what tables look like."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Process, Run
from twin import NOW, Json, Platform, a_step


@pytest.fixture
def instance(platform: Platform) -> Json:
    platform.a_project("demo", "web")
    return platform.instance()


# --- variables ---

VALUES = ["", " ", "a=b=c", "$HOME `id` \\n", "'\"", "line\nline\n", "\ttab", "é 🚂", "x" * 65536, "-dash", "\r\n"]


def test_values_go_as_they_are_given(process: Process, platform: Platform, instance: Json) -> None:
    wanted = {f"V{number}": value for number, value in enumerate(VALUES)}
    assert process("variables", "set", *(f"{name}={value}" for name, value in wanted.items())).returncode == 0
    assert platform.variables == wanted


@pytest.mark.parametrize("value", ["", "line\r\nline\n", "\x00", "\ufeffé 🚂 'x'", "x" * 65536])
def test_values_from_stdin_go_byte_by_byte(process: Process, platform: Platform, instance: Json, value: str) -> None:
    assert process("variables", "set", "A", "--stdin", given=value.encode()).returncode == 0
    assert platform.variables == {"A": value}


def test_values_come_back_as_they_are(process: Process, platform: Platform, instance: Json) -> None:
    platform.variables = {f"V{number}": value for number, value in enumerate(VALUES)}
    ran = process("variables", "list", "--reveal", "--json")
    assert {one["name"]: one["value"] for one in json.loads(ran.stdout)} == platform.variables


def test_json_holds_under_any_locale(
    process: Process, platform: Platform, instance: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    platform.variables = {"A": "é 🚂"}
    assert json.loads(process("variables", "list", "--reveal", "--json").stdout)[0]["value"] == "é 🚂"
    assert process("variables", "list", "--reveal").returncode == 0


def test_what_is_no_text_is_refused(process: Process, platform: Platform, instance: Json) -> None:
    for ran in (process("variables", "set", b"A=\xff"), process("variables", "set", "A", "--stdin", given=b"\xff")):
        assert ran.returncode == 2
        assert b"not UTF-8" in ran.stderr
    assert platform.variables == {}


@pytest.mark.parametrize("arguments", [("A",), ("=x",), ("A=1", "B"), ("A=1", "--stdin"), ("A", "B", "--stdin"), ()])
def test_a_set_that_means_nothing_changes_nothing(
    process: Process, platform: Platform, instance: Json, arguments: tuple[str, ...]
) -> None:
    assert process("variables", "set", *arguments).returncode == 2
    assert platform.variables == {}


def test_a_refused_set_does_not_show_the_value(trackside: Run, instance: Json) -> None:
    assert "hunter2" not in trackside("variables", "set", "=hunter2").err


def test_values_are_hidden_unless_they_are_asked_for(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.variables = {"KEY": "s3cret\n\x1b[31m"}
    hidden = trackside("variables", "list")
    assert hidden.out.splitlines() == ["NAME  VALUE", "KEY   ********"]
    assert trackside("variables", "list", "--json").json == [{"name": "KEY", "value": None}]
    assert trackside("variables", "list", "--reveal").out.splitlines()[1] == r"KEY   s3cret\n\x1b[31m"


def test_setting_answers_with_what_changed_and_the_deployment(
    trackside: Run, platform: Platform, instance: Json
) -> None:
    ran = trackside("variables", "set", "A=1", "--json")
    assert ran.json["changed"] == ["A"]
    assert ran.json["deployment"]["status"] == "INITIALIZING"
    assert trackside("variables", "set", "B=1", "--skip-deploy").out == "Changed B.\n"


def test_deleting_takes_several_and_may_change_nothing(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.variables = {"A": "1", "B": "2", "C": "3"}
    assert trackside("variables", "delete", "A", "B").code == 0
    assert platform.variables == {"C": "3"}
    assert trackside("variables", "delete", "A").out == "Nothing changed.\n"


# --- scale, restart, down, open ---


def test_scale_asks_for_that_many(trackside: Run, instance: Json) -> None:
    assert trackside("scale", "5", "--json").json["replicas"]["wanted"] == 5
    assert trackside("scale", "2").out == "web goes to 2 replicas; 0 healthy now.\n"


def test_scale_says_so_where_nothing_runs_that_could_be_scaled(
    trackside: Run, platform: Platform, instance: Json
) -> None:
    platform.runs_nothing.add(instance["id"])
    assert trackside("scale", "2").out == "web has 2 replicas from its next deployment on; nothing of it runs now.\n"


@pytest.mark.parametrize("count", ["-1", "0", "101", "many", "1.5", ""])
def test_scale_takes_a_number_only(trackside: Run, instance: Json, count: str) -> None:
    assert trackside("scale", count).code == 2


def test_restart_and_down_are_sent(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.a_deployment(instance, [], status="SUCCESS")
    assert trackside("restart").out == "web restarts.\n"
    assert trackside("down", "--yes", "--json").json["active_deployment"] is None
    assert platform.sent("POST", "/restart") == platform.sent("POST", "/down") == [{}]


def test_a_restart_says_what_made_way_for_it(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.a_deployment(instance, [], status="SUCCESS")
    coming = platform.a_deployment(instance, [], status="BUILDING")
    told = f"web restarts in place of deployment {coming['id']}, which had not served yet.\n"
    assert trackside("restart").out == told
    assert trackside("restart", "--json").json["superseded"] == [coming["id"]]


def test_down_stops_nothing_where_nobody_can_confirm_it(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.a_deployment(instance, [], status="SUCCESS")
    ran = trackside("down")
    assert ran.code == 2
    assert "Nothing was stopped: nobody is here to confirm it." in ran.err
    assert platform.sent("POST", "/down") == []


def test_down_asks_nothing_where_nothing_runs(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.a_deployment(instance, [], status="REMOVED")
    assert trackside("down").out == "Nothing of web runs.\n"
    platform.a_deployment(instance, [], status="BUILDING")
    assert trackside("down").code == 2


def test_a_deployment_that_was_taken_back_is_no_news_in_the_status(
    trackside: Run, platform: Platform, instance: Json
) -> None:
    platform.a_deployment(instance, [], status="SUCCESS")
    platform.a_deployment(instance, [], status="REMOVED")
    assert "newest" not in trackside("status").out


CHANGES = [
    ("variables", "set", "A=1"),
    ("variables", "delete", "A"),
    ("variables", "import", "--yes"),
    ("config", "set", "deploy.numReplicas=2"),
    ("config", "unset", "deploy.numReplicas"),
    ("scale", "2"),
    ("restart",),
    ("down", "--yes"),
    ("deploy", "--detach"),
    ("deploy", "--image", "app:1", "--detach", "--json"),
    ("redeploy", "--detach"),
    ("rollback", "--detach"),
    ("cancel",),
]


@pytest.mark.parametrize("change", CHANGES, ids=" ".join)
def test_where_a_change_goes_is_said_first_where_nobody_named_it(
    trackside: Run, platform: Platform, instance: Json, change: tuple[str, ...]
) -> None:
    """In a directory that is not linked, with only one project there is."""
    Path(".env").write_text("A=1")
    served = a_step("DRAIN_INSTANCES")
    platform.a_deployment(instance, [], status="REMOVED", image_id="1", steps=[served])
    platform.a_deployment(instance, [], status="SUCCESS", image_id="2", steps=[served])
    platform.a_deployment(instance, [], status="BUILDING")
    ran = trackside(*change)
    assert ran.code == 0, ran.err
    first = ran.err.splitlines()[0]
    assert first.startswith("No project is named or linked here: ")
    assert first.endswith("web in production of project demo.")
    assert "No service is named" in trackside(*change, "-p", "demo").err
    assert "is named" not in trackside(*change, "-p", "demo", "-s", "web").err
    trackside("link", "-p", "demo", "-s", "web")
    assert "is named" not in trackside(*change).err


def test_open_prints_the_url(trackside: Run, instance: Json) -> None:
    instance["url"] = "http://web-production.localhost:7780"
    assert trackside("open").out == "http://web-production.localhost:7780\n"
    assert trackside("open", "--json").json == {"url": instance["url"]}


def test_open_without_a_url_says_why(trackside: Run, instance: Json) -> None:
    assert trackside("open").code == 5


# --- status and tables ---


def test_status_json_is_the_project_objects_whole(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.a_project("other")
    platform.projects[0]["later_field"] = {"kept": True}
    assert trackside("status", "--json").json == platform.projects
    assert trackside("status", "-p", "demo", "--json").json == platform.projects[:1]


def test_status_shows_active_and_newest(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.a_deployment(instance, [], status="SUCCESS")
    platform.a_deployment(instance, [], status="FAILED")
    instance["replicas"] = {"wanted": 3, "healthy": 2}
    instance["url"] = "http://web"
    header, row = trackside("status").out.splitlines()
    assert header.split() == ["PROJECT", "ENVIRONMENT", "SERVICE", "STATUS", "REPLICAS", "URL", "DEPLOYED"]
    assert " ".join(row.split()).startswith("demo production web SUCCESS, newest FAILED 2/3 http://web ")


def test_status_tells_what_is_wrong_with_a_replica(trackside: Run, platform: Platform, instance: Json) -> None:
    active = platform.a_deployment(instance, [], status="SUCCESS")
    active["replicas"] = [
        {"id": "1", "ordinal": 1, "status": "RUNNING", "detail": "", "address": "10.0.0.2"},
        {"id": "2", "ordinal": 2, "status": "RESTARTING", "detail": "exited with code 7", "address": "10.0.0.3"},
    ]
    instance["active_deployment"] = instance["latest_deployment"] = active
    ran = trackside("status")
    assert ran.code == 0
    assert "replica 2: RESTARTING, exited with code 7" in ran.err
    assert "replica 1" not in ran.err


def test_status_of_nothing_says_how_to_begin(trackside: Run) -> None:
    ran = trackside("status")
    assert (ran.code, ran.out) == (0, "")
    assert "trackside up" in ran.err


def test_deployments_are_listed_newest_first(trackside: Run, platform: Platform, instance: Json) -> None:
    git = {"kind": "git", "url": "https://example.com/team/app.git", "reference": "main"}
    commit = {"sha": "1a2b3c4d5e", "message": "Mend it\n\nbody", "author": "Ada"}
    platform.a_deployment(instance, [], status="FAILED", source=git, commit=commit, reason="No.", ended_at=NOW)
    platform.a_deployment(instance, [], status="SUCCESS", source={"kind": "image", "reference": "redis:7"})
    ran = trackside("deployments", "--json")
    assert ran.json == list(platform.deployments.values())[::-1]
    newest, oldest = trackside("deployments").out.splitlines()[1:]
    assert "redis:7" in newest
    assert "example.com/team/app@main 1a2b3c4 Mend it" in oldest
    assert trackside("deployments", "-n", "1", "--json").json == ran.json[:1]


def on_a_terminal(*arguments: str, answer: bytes = b"", width: int = 100) -> tuple[int, str]:
    """Run the command line on a pseudo-terminal; the exit code and what stood on the screen."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(width)}
    command = [sys.executable, "-m", "trackside_cli", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        os.write(ours, answer)
        seen = b""
        try:
            while piece := os.read(ours, 4096):
                seen += piece
        except OSError:
            pass  # the terminal is gone when its last user has ended
        running.wait(30)
    os.close(ours)
    return running.returncode, seen.decode()


def test_colours_are_for_terminals_only(
    signed_in: None, trackside: Run, platform: Platform, instance: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.a_deployment(instance, [], status="SUCCESS")
    assert "\x1b" not in trackside("status").out
    code, screen = on_a_terminal("status")
    assert code == 0
    assert "\x1b[32mSUCCESS" in screen
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in on_a_terminal("status")[1]


def test_on_a_terminal_that_is_too_narrow_for_columns_no_cell_is_broken(
    signed_in: None, platform: Platform, instance: Json
) -> None:
    platform.a_deployment(instance, [], status="SUCCESS", url="http://web-production.localhost:7780")
    for width in (30, 200):
        code, screen = on_a_terminal("status", width=width)
        assert code == 0
        assert all(word in screen for word in ("ENVIRONMENT", "production", "SUCCESS"))


def test_a_deployment_on_a_terminal_shows_progress(signed_in: None, platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("x")
    code, screen = on_a_terminal("up", str(tmp_path), "-p", "demo", "-s", "web")
    assert code == 0
    assert "\x1b[32m✓ Build image" in screen
    assert "http://web-production.localhost:7780" in screen


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_deleting_asks_at_a_terminal(
    signed_in: None, platform: Platform, instance: Json, answer: bytes, left: int
) -> None:
    code, screen = on_a_terminal("project", "delete", "demo", answer=answer)
    assert code == 0
    assert "Delete project “demo”" in screen
    assert len(platform.projects) == left


@pytest.mark.parametrize("kind", ["project", "service", "environment"])
def test_what_was_deleted_is_told_to_programs(trackside: Run, platform: Platform, instance: Json, kind: str) -> None:
    name = {"project": "demo", "service": instance["service_name"], "environment": "production"}[kind]
    told = trackside(kind, "delete", name, "--yes", "--json").json
    assert told["name"] == name
    assert set(told) == {"id", "name"}


def test_down_asks_at_a_terminal_unless_it_is_sure(signed_in: None, platform: Platform, instance: Json) -> None:
    platform.a_deployment(instance, [], status="SUCCESS")
    on_a_terminal("down", answer=b"n\n")
    assert not platform.sent("POST", "/down")
    on_a_terminal("down", "--yes")
    assert platform.sent("POST", "/down")
