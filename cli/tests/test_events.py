"""`trackside events` and `trackside explain`: what is asked for, what is printed, and following over restarts."""

import json
import threading

import pytest

from harness import Process, Run
from twin import LATER, NOW, Json, Platform, Refused
from twin_server import Twin


@pytest.fixture
def instance(platform: Platform) -> Json:
    platform.a_project("demo", "web")
    return platform.instance()


def seqs(out: str) -> list[int]:
    return [int(line.split()[1].removeprefix("#")) for line in out.splitlines()]


# --- events ---


def test_an_event_is_a_line_with_time_sentence_and_actor(trackside: Run, platform: Platform) -> None:
    platform.an_event("The project shop was created.")
    assert trackside("events").out == "2026-01-31T12:00:00Z The project shop was created. (Ada)\n"


def test_events_for_programs_are_one_document_per_line(trackside: Run, platform: Platform) -> None:
    first, second = platform.an_event("one"), platform.an_event("two")
    ran = trackside("events", "--json")
    assert [json.loads(line) for line in ran.out.splitlines()] == [first, second]


def test_the_newest_events_are_shown_and_it_is_said_that_there_are_more(trackside: Run, platform: Platform) -> None:
    for number in range(1, 151):
        platform.an_event(f"#{number}")
    ran = trackside("events")
    assert seqs(ran.out) == list(range(51, 151))
    assert "Older events are left out" in ran.err
    assert seqs(trackside("events", "-n", "2").out) == [149, 150]


def test_since_reads_every_page(trackside: Run, platform: Platform) -> None:
    platform.an_event("#0", at="2025-01-01T00:00:00Z")
    for number in range(2, 2502):
        platform.an_event(f"#{number}")
    assert seqs(trackside("events", "--since", "2026-01-01").out) == list(range(2, 2502))
    assert [one.get("after") for one in platform.sent("GET", "/events")] == ["0", "1001", "2001"]


def test_events_of_what_is_named_are_asked_for(trackside: Run, platform: Platform, instance: Json) -> None:
    platform.an_event("of the demo", project_id=instance["project_id"])
    platform.an_event("of web", project_id=instance["project_id"], service_id=instance["service_id"])
    platform.an_event("of another", project_id="x")
    platform.an_event("failed", "DeploymentFailed", project_id=instance["project_id"])
    assert len(trackside("events").out.splitlines()) == 4
    assert len(trackside("events", "-p", "demo").out.splitlines()) == 3
    assert trackside("events", "-s", "web").out == f"{NOW} of web (Ada)\n"
    assert trackside("events", "--type", "DeploymentFailed").out == f"{NOW} failed (Ada)\n"
    assert trackside("events", "-e", "production").code == 0
    assert platform.sent("GET", "/events")[-1]["environment_id"] == instance["environment_id"]
    assert trackside("events", "-p", "nonsense").code == 5
    trackside("link", "-p", "demo")
    assert len(trackside("events").out.splitlines()) == 3


def test_what_others_wrote_can_not_move_the_cursor(trackside: Run, platform: Platform) -> None:
    platform.an_event("a\x1b[2Jb")
    assert "\x1b" not in trackside("events").out


def test_following_goes_on_over_breaks_and_prints_each_event_once(trackside: Run, platform: Platform) -> None:
    platform.an_event("#1")
    platform.cuts = [0, 2, 1]
    rounds: list[int] = []

    def more() -> None:
        rounds.append(len(rounds))
        for _ in range(3):
            platform.an_event(f"#{len(platform.events) + 1}")
        if len(rounds) == 6:
            platform.refuse("/v1/events", Refused("unauthenticated", "Revoked."))

    platform.during_follow = more
    ran = trackside("events", "-f")
    assert ran.code == 3
    assert seqs(ran.out) == list(range(1, 17))  # the last three came when nobody was let in any more


def test_following_begins_after_what_was_shown_also_where_nothing_fitted(trackside: Run, platform: Platform) -> None:
    platform.an_event("#1", "ProjectCreated")

    def end() -> None:
        platform.refuse("/v1/events", Refused("unauthenticated", "Revoked."))

    platform.during_follow = end
    assert trackside("events", "-f", "--type", "DeploymentFailed").out == ""
    (followed,) = [path for verb, path, _ in platform.requests if verb == "FOLLOW"]
    assert "after=1&" in followed
    assert "type=DeploymentFailed" in followed


def test_following_outlives_a_restart_of_the_api(process: Process, platform: Platform, twin: Twin) -> None:
    platform.an_event("#1")
    restarted = threading.Event()

    def restart() -> None:
        twin.stop()
        platform.an_event("#2")
        threading.Timer(0.5, twin.start).start()

    def once() -> None:
        if not restarted.is_set():
            restarted.set()
            threading.Thread(target=restart, daemon=True).start()
        elif len(platform.events) == 2:
            platform.refuse("/v1/events", Refused("unauthenticated", "Revoked."))

    platform.during_follow = once
    ran = process("events", "-f")
    assert ran.returncode == 3
    assert seqs(ran.stdout.decode()) == [1, 2]
    assert b"Trying again" in ran.stderr


# --- explain ---


@pytest.fixture
def explained(platform: Platform, instance: Json) -> Json:
    deployment = platform.a_deployment(instance, [], status="FAILED", id="01a2", ended_at=LATER)
    platform.deployments["01a2"] = deployment
    happened = [
        {"at": NOW, "sentence": "Asked for by Ada: image app:1, 2 replicas.", "phase": None, "seconds": None},
        {"at": NOW, "sentence": "Create container.", "phase": "CREATE_CONTAINER", "seconds": 0.41},
        {"at": LATER, "sentence": "Healthcheck failed.", "phase": "HEALTHCHECK", "seconds": 301.0},
        {"at": LATER, "sentence": "It leaves.", "phase": "LEAVE", "seconds": 7.0, "is_over": False},
    ]
    platform.explanations["01a2"] = {
        "deployment_id": "01a2",
        "project_name": "demo",
        "environment_name": "production",
        "service_name": "web",
        "status": "FAILED",
        "sentence": "It was not healthy within 300 s: status 503.",
        "hint": "Look there.",
        "code": "builds.build_failed",
        "waits_for": "Its replicas have to stop.",
        "happened": [{"is_over": True, **one} for one in happened],
    }
    return deployment


GOLDEN = """\
Deployment 01a2 of web in production of project demo: FAILED
It was not healthy within 300 s: status 503.
hint: Look there.
code: builds.build_failed

2026-01-31T12:00:00Z                Asked for by Ada: image app:1, 2 replicas.
2026-01-31T12:00:00Z         0.4 s  Create container.
2026-01-31T12:00:02Z     5 min 1 s  Healthcheck failed.
2026-01-31T12:00:02Z        7.0 s…  It leaves.

Waits for: Its replicas have to stop.

Its last words:
  cannot reach the database
"""


def test_an_explanation_reads_well(trackside: Run, platform: Platform, explained: Json) -> None:
    platform.a_line(explained, "cannot reach the database")
    ran = trackside("explain", "deployment")
    assert (ran.code, ran.out) == (0, GOLDEN)


def test_of_a_build_that_failed_the_build_s_last_lines_are_shown(
    trackside: Run, platform: Platform, explained: Json
) -> None:
    platform.explanations["01a2"]["happened"] = platform.explanations["01a2"]["happened"][:1]
    platform.a_line(explained, "npm ERR!", kind="build")
    platform.a_line(explained, "not this")
    assert trackside("explain", "deployment").out.endswith("Its last words:\n  npm ERR!\n")


def test_of_what_goes_well_no_line_of_the_app_is_shown(trackside: Run, platform: Platform, explained: Json) -> None:
    platform.explanations["01a2"]["status"] = "SUCCESS"
    platform.a_line(explained, "all is well")
    assert "last words" not in trackside("explain", "deployment").out


def test_an_explanation_for_programs_is_what_the_api_says(trackside: Run, platform: Platform, explained: Json) -> None:
    assert trackside("explain", "deployment", "--json").json == platform.explanations["01a2"]


def test_explaining_what_is_not_there_says_so(trackside: Run, instance: Json) -> None:
    assert trackside("explain", "deployment").code == 5
    assert trackside("explain", "deployment", "nonsense").code == 2
    assert trackside("explain", "deployment", "01a20852-1909-761c-a6ea-a73cd5516993").code == 5
