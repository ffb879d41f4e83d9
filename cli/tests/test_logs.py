"""Logs: the right lines, in order, each once, over broken connections."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness import Process, Run
from trackside_cli.client.types import LogLine
from trackside_cli.log_lines import in_time_order
from twin import LATER, Json, Platform
from twin_server import Twin


@pytest.fixture
def deployment(platform: Platform) -> Json:
    platform.a_project("demo", "web")
    return platform.a_deployment(platform.instance(), [], status="SUCCESS", image_id="sha256:1")


def test_lines_have_time_and_message(trackside: Run, platform: Platform, deployment: Json) -> None:
    platform.a_line(deployment, "one")
    platform.a_line(deployment, "two", level="error", at=LATER)
    ran = trackside("logs")
    assert ran.out.splitlines() == ["2026-01-31T12:00:00Z one", f"{LATER} two"]
    assert ran.err == f"Deployment {deployment['id']}, SUCCESS\n"


def test_json_is_one_object_a_line_as_the_api_gives_it(trackside: Run, platform: Platform, deployment: Json) -> None:
    odd = 'tab\t esc\x1b[31m nel\x85 sep\u2028 é 🚂 \ud800 "quoted"\nline'
    line = platform.a_line(deployment, odd.replace("\ud800", ""), attributes={"new_field": "kept"})
    ran = trackside("logs", "--json")
    assert [json.loads(text) for text in ran.out.split("\n") if text] == [line]
    assert ran.err == ""


def test_messages_do_not_reach_the_terminal_raw(trackside: Run, platform: Platform, deployment: Json) -> None:
    platform.a_line(deployment, "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jx\ry\nz")
    assert trackside("logs").out == "2026-01-31T12:00:00Z red xyz\n"


@pytest.mark.parametrize(("flag", "kind"), [("--build", "build"), ("--http", "http")])
def test_build_and_request_logs(trackside: Run, platform: Platform, deployment: Json, flag: str, kind: str) -> None:
    platform.a_line(deployment, "app")
    platform.a_line(deployment, kind, kind=kind)
    assert trackside("logs", flag).out.endswith(f" {kind}\n")
    assert ("Requests" if kind == "http" else deployment["id"]) in trackside("logs", flag).err
    assert len(trackside("logs", flag).out.splitlines()) == 1


def test_a_request_without_a_message_is_told_by_its_parts(trackside: Run, platform: Platform, deployment: Json) -> None:
    told = {"method": "GET", "path": "/", "status": "200", "total_ms": "3.1"}
    platform.a_line(deployment, "", kind="http", attributes=told)
    assert trackside("logs", "--http").out == "2026-01-31T12:00:00Z GET / 200 3.1 ms\n"


def test_two_logs_at_once_are_refused(trackside: Run, deployment: Json) -> None:
    assert trackside("logs", "--build", "--http").code == 2


def test_the_newest_lines_are_shown_and_it_is_said_that_there_are_more(
    trackside: Run, platform: Platform, deployment: Json
) -> None:
    for number in range(1200):
        platform.a_line(deployment, str(number))
    ran = trackside("logs")
    assert len(ran.out.splitlines()) == 1000
    assert ran.out.endswith(" 1199\n")
    assert "Older lines are left out" in ran.err
    assert trackside("logs", "-n", "2").out.split()[1::2] == ["1198", "1199"]


def test_since_reads_every_page(trackside: Run, platform: Platform, deployment: Json) -> None:
    for number in range(2500):
        platform.a_line(deployment, str(number))
    ran = trackside("logs", "--since", "2026-01-01")
    assert [line.split()[1] for line in ran.out.splitlines()] == [str(number) for number in range(2500)]
    asked = platform.sent("GET", "/logs")
    assert [one.get("after") for one in asked] == [None, "1000", "2000"]
    assert len({one["since"] for one in asked}) == 1


@pytest.mark.parametrize("text", ["", "10", "m", "yesterday", "10m ago", "-5m", "2026-99-01"])
def test_a_since_that_means_nothing_is_refused(trackside: Run, deployment: Json, text: str) -> None:
    assert trackside("logs", "--since", text).code == (0 if text == "" else 2)


def test_while_a_new_deployment_is_built_the_active_one_is_shown(
    trackside: Run, platform: Platform, deployment: Json
) -> None:
    platform.a_line(deployment, "serving")
    building = platform.a_deployment(platform.instance(), [], status="BUILDING")
    platform.a_line(building, "compiling", kind="build")
    assert "serving" in trackside("logs").out
    assert "compiling" in trackside("logs", "--build").out


def test_a_failed_deployment_shows_its_own_lines(trackside: Run, platform: Platform, deployment: Json) -> None:
    failed = platform.a_deployment(platform.instance(), [], status="FAILED")
    platform.a_line(failed, "boom")
    assert "boom" in trackside("logs").out


def test_a_deployment_can_be_named_without_a_project(trackside: Run, platform: Platform, deployment: Json) -> None:
    platform.a_project("other", "web")
    platform.a_line(deployment, "one")
    assert "one" in trackside("logs", deployment["id"]).out


def test_a_service_never_deployed_has_no_logs(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    assert trackside("logs").code == 5


def test_following_from_a_time_without_lines_begins_with_the_next_line(
    trackside: Run, platform: Platform, deployment: Json
) -> None:
    platform.a_line(deployment, "old", at="2025-01-01T00:00:00Z")

    def next_line() -> None:
        platform.a_line(deployment, "new")
        deployment["status"] = "REMOVED"

    platform.during_follow = next_line
    ran = trackside("logs", "-f", "--since", "2026-01-01T00:00:00Z")
    assert ran.out == "2026-01-31T12:00:00Z new\n"


def test_a_followed_build_ends_with_the_build(trackside: Run, platform: Platform, deployment: Json) -> None:
    building = platform.a_deployment(
        platform.instance(), [{"status": "BUILDING"}] * 3 + [{"status": "DEPLOYING"}], status="BUILDING"
    )
    for number in range(3):
        platform.a_line(building, str(number), kind="build")
    ran = trackside("logs", "--build", "-f")
    assert ran.code == 0
    assert [line.split()[1] for line in ran.out.splitlines()] == ["0", "1", "2"]


def test_following_survives_breaks_and_prints_no_line_twice(
    trackside: Run, platform: Platform, deployment: Json
) -> None:
    platform.a_line(deployment, "0")
    platform.cuts = [1, 0, 2]
    rounds: list[int] = []

    def more_lines() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 6:
            deployment["status"] = "REMOVED"
        else:
            for _ in range(3):
                platform.a_line(deployment, str(len(platform.lines[deployment["id"], "deploy"])))

    platform.during_follow = more_lines
    ran = trackside("logs", "-f")
    assert ran.code == 0
    assert [line.split()[1] for line in ran.out.splitlines()] == [str(number) for number in range(16)]
    assert len(rounds) == 6


def test_following_outlives_a_restart_of_the_api(
    process: Process, platform: Platform, deployment: Json, twin: Twin
) -> None:
    platform.a_line(deployment, "before")
    restarted = threading.Event()

    def restart() -> None:
        twin.stop()
        platform.a_line(deployment, "after")
        deployment["status"] = "REMOVED"
        threading.Timer(1.0, twin.start).start()

    def once() -> None:
        if not restarted.is_set():
            restarted.set()
            threading.Thread(target=restart, daemon=True).start()

    platform.during_follow = once
    ran = process("logs", "-f")
    assert ran.returncode == 0
    assert [line.split()[1] for line in ran.stdout.decode().splitlines()] == ["before", "after"]


def test_following_goes_on_with_the_deployment_that_comes_in_its_place(
    trackside: Run, platform: Platform, deployment: Json
) -> None:
    platform.a_line(deployment, "old")
    following: list[Json] = []

    def replaced() -> None:
        if not following:
            following.append(platform.a_deployment(platform.instance(), [], status="SUCCESS"))
            platform.a_line(following[0], "new")
            deployment["status"] = "REMOVED"
        else:
            following[0]["status"] = "REMOVED"

    platform.during_follow = replaced
    ran = trackside("logs", "-f")
    assert [line.split()[1] for line in ran.out.splitlines()] == ["old", "new"]
    assert [line.split()[1] for line in ran.err.splitlines()] == [f"{one['id']}," for one in (deployment, *following)]


def test_following_a_deployment_that_is_named_ends_with_it(
    trackside: Run, platform: Platform, deployment: Json
) -> None:
    def replaced() -> None:
        following = platform.a_deployment(platform.instance(), [], status="SUCCESS")
        platform.a_line(following, "new")
        deployment["status"] = "REMOVED"

    platform.a_line(deployment, "old")
    platform.during_follow = replaced
    assert trackside("logs", "-f", deployment["id"]).out.endswith(" old\n")


def test_following_a_removed_deployment_shows_what_is_there_and_ends(
    trackside: Run, platform: Platform, deployment: Json
) -> None:
    deployment["status"] = "REMOVED"
    platform.a_line(deployment, "last words")
    ran = trackside("logs", "-f")
    assert (ran.code, len(ran.out.splitlines())) == (0, 1)


def test_a_reader_that_goes_away_leaves_no_traceback(
    platform: Platform, deployment: Json, signed_in: None, tmp_path: Path
) -> None:
    for number in range(1000):
        platform.a_line(deployment, f"{number} {'x' * 200}")
    with (tmp_path / "err").open("wb") as err:
        running = subprocess.Popen([sys.executable, "-m", "trackside_cli", "logs"], stdout=subprocess.PIPE, stderr=err)
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        running.wait(30)
    assert b"Traceback" not in (tmp_path / "err").read_bytes()
    assert b"BrokenPipe" not in (tmp_path / "err").read_bytes()


A, B = "01a20852-1909-761c-a6ea-a73cd551aaaa", "01a20852-1909-761c-a6ea-a73cd551bbbb"


def test_lines_of_several_replicas_are_in_the_order_of_their_times_with_the_replica_s_number(
    trackside: Run, platform: Platform, deployment: Json
) -> None:
    """They are stored replica by replica."""
    deployment["replicas"] = [{"id": A, "ordinal": 0}]
    for replica, seconds in ((A, (1, 3)), (B, (0, 2))):
        for second in seconds:
            at = f"2026-01-31T12:00:0{second}{'.5' if replica == A else ''}Z"
            platform.a_line(deployment, str(second), at=at, replica_id=replica)
    wanted = ["[bbbb] 0", "[0] 1", "[bbbb] 2", "[0] 3"]
    for arguments in ((), ("--since", "2026-01-01")):
        ran = trackside("logs", *arguments)
        assert [line.partition(" ")[2] for line in ran.out.splitlines()] == wanted
    assert all(json.loads(line)["replica_id"] in (A, B) for line in trackside("logs", "--json").out.splitlines())


def test_lines_of_an_only_replica_bear_no_name(trackside: Run, platform: Platform, deployment: Json) -> None:
    deployment["replicas"] = [{"id": A, "ordinal": 0}]
    platform.a_line(deployment, "one", replica_id=A)
    platform.a_line(deployment, "of the platform")
    assert trackside("logs").out.splitlines() == ["2026-01-31T12:00:00Z one", "2026-01-31T12:00:00Z of the platform"]


def test_lines_are_sorted_without_holding_all_of_them() -> None:
    def lines() -> Iterator[LogLine]:
        for number in range(1000):
            at = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number ^ 3)).isoformat()
            yielded.append(number)
            yield LogLine(seq=number, at=at, level="", message=str(number ^ 3), replica_id=None, attributes={})

    yielded: list[int] = []
    for count, line in enumerate(in_time_order(lines())):
        assert line["message"] == str(count)
        assert len(yielded) < count + 20
