"""The build queue: the place in it, what is urgent, all that is built and waits."""

from pathlib import Path

from harness import REPOSITORY, Run
from twin import NOW, SUCCEEDS, Platform


def test_a_place_in_the_queue_is_told_each_time_it_changes(trackside: Run, platform: Platform, app: Path) -> None:
    places = [(11, 12, 1), (11, 13, 2), (2, 3, 2), (1, 2, 0)]
    waits = [{"queue": {"place": p, "waiting": w, "building": b}} for p, w, b in places]
    platform.course = [
        *({"status": "QUEUED", **wait} for wait in waits),
        {"status": "BUILDING", "queue": None},
        *SUCCEEDS[2:],
    ]
    ran = trackside("up", str(app))
    told = [line for line in ran.err.splitlines() if "queue" in line]
    assert told == ["Number 11 in the queue; 1 building.", "Second in the queue; 2 building.", "First in the queue."]
    assert "Waiting for its turn." not in ran.err


def test_status_and_deployments_tell_the_place_in_the_queue(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    waits = {"status": "QUEUED", "queue": {"place": 3, "waiting": 12, "building": 1}}
    platform.a_deployment(platform.instance(), course=[], **waits)
    assert "QUEUED, 3 of 12" in trackside("status").out
    assert "QUEUED, 3 of 12" in trackside("deployments").out


def test_urgent_is_sent_with_what_is_deployed_anew(trackside: Run, platform: Platform, app: Path) -> None:
    platform.a_project("demo", "web")
    trackside("up", str(app), "--urgent", "-p", "demo")
    trackside("deploy", "--repo", REPOSITORY, "-p", "demo")
    assert [body.get("urgent") for body in platform.sent("POST", "/deployments")] == [True, None]
    asked: list[str] = []
    platform.on_request = asked.append
    assert trackside("redeploy", "--urgent", "-p", "demo", "-s", "web").code == 0


def test_the_queue_shows_what_is_built_and_what_waits(trackside: Run, platform: Platform) -> None:
    named = {"project_name": "demo", "environment_name": "production", "service_name": "web", "queued_at": NOW}
    built = {**named, "deployment_id": "d1", "priority": "urgent", "place": None, "began_at": NOW}
    waits = {**named, "deployment_id": "d2", "priority": "production", "place": 7, "began_at": None}
    platform.queue = {"waiting": 9, "building": 2, "builds": [built, waits]}
    ran = trackside("queue")
    rows = [line.split() for line in ran.out.splitlines()]
    assert [row[:5] for row in rows[-2:]] == [
        ["building", "demo", "production", "web", "urgent"],
        ["7", "demo", "production", "web", "production"],
    ]
    assert "In all workspaces 2 building, 9 waiting." in ran.err
    assert trackside("queue", "--json").json == platform.queue
    platform.queue = {"waiting": 9, "building": 2, "builds": []}
    assert "Nothing of yours" in trackside("queue").out + trackside("queue").err
