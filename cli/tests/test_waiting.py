"""Waiting for a deployment, and sending it: interrupted, refused, through an API that is away or busy."""

import itertools
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness import REPOSITORY, Run
from trackside_cli.commands.flags import connected
from trackside_cli.watch import Watch
from twin import STAYS, SUCCEEDS, TOKEN, Json, Platform, Refused, a_step
from twin_server import Twin


def test_interrupting_the_wait_leaves_the_deployment_running(platform: Platform, signed_in: None) -> None:
    platform.a_project("demo", "web")
    platform.course = STAYS
    command = [sys.executable, "-m", "trackside_cli", "deploy", "--repo", REPOSITORY]
    has_been_read = threading.Event()

    def on_read(deployment: Json) -> None:
        has_been_read.set()

    platform.on_read = on_read

    def listen_to_interrupts() -> None:
        """Tests run in the background of a shell inherit that SIGINT is ignored."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listen_to_interrupts
    ) as running:
        assert has_been_read.wait(30)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    (deployment,) = platform.deployments
    assert (running.returncode, out) == (130, b"")
    assert f"trackside cancel {deployment}" in err.decode()
    assert b"Traceback" not in err
    assert not platform.sent("POST", "/cancel")


def test_waiting_outlives_a_restart_of_the_api(trackside: Run, platform: Platform, twin: Twin) -> None:
    platform.a_project("demo", "web")
    platform.course = [{"status": "BUILDING"}, {"status": "BUILDING"}, *SUCCEEDS]
    reads: list[str] = []

    def on_read(deployment: Json) -> None:
        reads.append(deployment["id"])
        if len(reads) == 2:
            threading.Thread(target=restart, daemon=True).start()

    def restart() -> None:
        twin.stop()
        threading.Timer(0.8, twin.start).start()

    platform.on_read = on_read
    ran = trackside("deploy", "--repo", REPOSITORY)
    assert ran.code == 0
    assert ran.err.count("Trying again…") == 1
    assert ran.err.count("The platform answers again.") == 1


def test_waiting_outlives_an_api_that_is_busy(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    started = platform.a_deployment(platform.instance(), [], status="REMOVED")
    busy = [
        Refused("unavailable", "The database starts."),
        Refused("limit", "Too many."),
        Refused("internal", "A stumble."),
    ]
    platform.course = [*busy, *SUCCEEDS]
    assert trackside("redeploy", started["id"]).code == 0


def test_an_upload_that_broke_off_is_sent_again(trackside: Run, platform: Platform, app: Path) -> None:
    platform.refuse("/uploads", Refused("unavailable", "Starting."))
    assert trackside("up", str(app), "--json").code == 0
    assert len(platform.uploads) == 1


def test_a_large_upload_that_is_refused_says_why(trackside: Run, platform: Platform, app: Path) -> None:
    (app / "large").write_bytes(random_bytes(24 << 20))
    platform.refuse("/uploads", Refused("invalid", "The upload is larger than 1 MB.", "projects.upload_too_large"))
    ran = trackside("up", str(app))
    assert ran.code == 2
    assert "The upload is larger than 1 MB." in ran.err
    assert not platform.deployments


def random_bytes(count: int) -> bytes:
    import random

    return random.Random(1).randbytes(count)


def test_a_deployment_request_that_was_sent_is_not_sent_again(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.refuse("/deployments", Refused("unavailable", "Busy."))
    assert trackside("deploy", "--repo", REPOSITORY).code == 7
    assert not platform.deployments


def test_a_step_that_takes_long_says_once_what_it_waits_for(
    platform: Platform, twin: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.a_project("demo", "web")
    health = {"status": "DEPLOYING", "steps": [a_step("CREATE_CONTAINER"), a_step("HEALTHCHECK", is_done=False)]}
    made = platform.a_deployment(platform.instance(), [health, health, health, health, {"status": "FAILED"}])
    waits_for = "The edge has to find its replica well; that may take 300 s."
    platform.explanations[made["id"]] = {"waits_for": waits_for}
    seconds = itertools.count(step=4.0)
    with connected(twin.url, TOKEN) as connection:
        Watch(connection.api, made, quiet=False, now=lambda: next(seconds)).until_over()  # pyright: ignore[reportArgumentType]
    lines = [line for line in capsys.readouterr().err.splitlines() if "created" not in line.lower()]
    assert lines[-2:] == ["• Healthcheck", f"  {waits_for}"]
    assert " ".join(lines).count(waits_for) == 1
