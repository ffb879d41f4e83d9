"""What the real platform tells of itself: events followed over a killed gateway, and why deployments went as they did."""

import json
import os
import signal
import subprocess
from pathlib import Path

import httpx

from e2e.conftest import APPS, CHECKOUT, Service, Trackside, until


def answers(trackside: Trackside) -> bool:
    try:
        return trackside.api.get("/v1/version").is_success
    except httpx.TransportError:
        return False


def lines(path: Path) -> list[dict[str, object]]:
    """The whole lines of a file that is still written."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_events_are_followed_over_a_killed_gateway_and_explain_what_happened(
    trackside: Trackside, echo: Service, tmp_path: Path
) -> None:
    program, followed = str(CHECKOUT / "bin" / "trackside"), tmp_path / "followed"
    command = [program, "events", "--follow", "--since", "1d", "--json", "--project", echo.project]
    with followed.open("wb") as out, (tmp_path / "said").open("wb") as said:
        following = subprocess.Popen(command, env=trackside.cli.environment, stdout=out, stderr=said)
        try:
            until(lambda: len(lines(followed)) > 3)
            killed = trackside.pids["gateway"]
            os.kill(killed, signal.SIGKILL)
            until(lambda: trackside.pids["gateway"] not in (0, killed))
            until(lambda: answers(trackside))
            echo.configure(healthcheckPath="/health", healthcheckTimeout=3)
            echo.set(HEALTHY_AFTER="1000", VERSION="2")
            failed = echo.up(APPS / "echo", ok=False)["deployment_id"]
            until(lambda: any(one["type"] == "DeploymentFailed" for one in lines(followed)))
        finally:
            following.send_signal(signal.SIGINT)
            following.wait(30)
    numbers = [one["seq"] for one in lines(followed)]
    whole = trackside.cli.run("events", "--since", "1d", "--json", "--project", echo.project).stdout
    assert numbers == [json.loads(line)["seq"] for line in whole.splitlines()][: len(numbers)]
    explained = trackside.cli.run("explain", "deployment", failed).stdout
    assert f"Deployment {failed} of {echo.name} in production of project {echo.project}: FAILED\n" in explained
    assert "It was not healthy within 3 s: " in explained
    assert "Replica 0 is CRASHED: it is unhealthy: " in explained
    assert "No request was sent to it" in explained
    assert "Healthcheck failed." in explained
    serving = trackside.cli.json("explain", "deployment", echo.instance["active_deployment"]["id"])
    assert serving["status"] == "SUCCESS"
    steps = {one["phase"]: one["seconds"] for one in serving["happened"] if one["phase"]}
    assert {"BUILD_IMAGE", "CREATE_CONTAINER", "HEALTHCHECK", "CONFIGURE_NETWORK", "DRAIN_INSTANCES"} <= set(steps)
    assert all(seconds >= 0 for seconds in steps.values())
