"""What the settings say of time, measured in the records of a running platform: start, overlap, draining, killing."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from e2e.conftest import APPS, Service
from e2e.test_deploying import in_background
from edge.load import Outcome, fetch

SLACK = 2.5
"""Seconds that a step may come late on a machine that is busy with other tests."""


def happened(service: Service, deployment_id: str) -> dict[str, list[datetime]]:
    """When what happened to a deployment and its replicas: type of event → moments."""
    answer = service.api.get(f"/v1/deployments/{deployment_id}/events")
    moments: dict[str, list[datetime]] = {}
    for event in answer.json()["events"]:
        moments.setdefault(event["type"], []).append(datetime.fromisoformat(event["at"]))
    return moments


def seconds_between(service: Service, deployment_id: str, earlier: str, later: str) -> float:
    """From the only event of a type to the only one of another."""
    moments = happened(service, deployment_id)
    (begin,), (end,) = moments[earlier], moments[later]
    return (end - begin).total_seconds()


def seconds_of_step(deployment: dict[str, Any], name: str) -> float:
    step = next(step for step in deployment["steps"] if step["name"] == name)
    begin, end = (datetime.fromisoformat(step[at]) for at in ("started_at", "completed_at"))
    return (end - begin).total_seconds()


# --- the start ---


@pytest.mark.slow
def test_a_start_period_gives_a_slow_app_the_time_that_the_timeout_alone_does_not(echo: Service) -> None:
    echo.set(HEALTHY_AFTER="4", VERSION="2")
    echo.configure(healthcheckPath="/health", healthcheckTimeout=1)
    refused = echo.up(APPS / "echo", ok=False)
    assert (refused["status"], "not healthy within 1 s" in refused["reason"]) == ("FAILED", True)
    assert seconds_of_step(echo.deployments()[0], "HEALTHCHECK") < 1 + SLACK
    assert echo.get("/").text == "1"
    echo.configure(startPeriodSeconds=20)
    assert echo.up(APPS / "echo")["status"] == "SUCCESS"
    assert 3 < seconds_of_step(echo.deployments()[0], "HEALTHCHECK") < 4 + SLACK
    assert echo.get("/").text == "2"
    assert int(echo.get("/asked").text) > 1


async def test_without_a_health_check_nobody_asks_and_traffic_still_waits_until_the_app_listens(echo: Service) -> None:
    echo.set(HEALTHY_AFTER="1000", VERSION="2")
    late = "sleep 3; exec python3 main.py"
    echo.configure(
        healthcheckType="NONE", healthcheckPath="/health", healthcheckTimeout=20, startCommand=late, port=8080
    )
    async with echo.load(100) as load:
        assert (await in_background(echo.up, APPS / "echo"))["status"] == "SUCCESS"
    assert load.failures == [], load.summary()
    assert seconds_of_step(echo.deployments()[0], "HEALTHCHECK") > 2
    assert echo.get("/").text == "2"
    assert echo.get("/asked").text == "0"


@pytest.mark.slow
def test_without_a_health_check_an_app_that_should_listen_and_does_not_is_still_told(echo: Service) -> None:
    echo.configure(healthcheckType="NONE", healthcheckTimeout=2, startCommand="sleep 1000")
    refused = echo.up(APPS / "echo", ok=False)
    assert (refused["status"], "listens on no port" in refused["reason"]) == ("FAILED", True)
    assert echo.get("/").text == "1"


# --- the end ---


def test_the_old_version_stays_for_its_overlap_and_is_killed_after_its_draining_seconds(echo: Service) -> None:
    echo.set(STUBBORN="yes")
    echo.configure(overlapSeconds=3, drainingSeconds=2)
    echo.up(APPS / "echo")
    old = echo.deployments()[0]["id"]
    echo.cli.run("variables", "delete", "STUBBORN", "--skip-deploy", *echo.scope)
    echo.configure(overlapSeconds=0, drainingSeconds=10)
    assert echo.up(APPS / "echo")["status"] == "SUCCESS"
    new = echo.deployments()[0]["id"]
    assert 3 <= seconds_between(echo, old, "DeploymentRemoving", "ReplicaTerminating") < 3 + SLACK
    assert 2 <= seconds_between(echo, old, "ReplicaTerminating", "ReplicaRemoved") < 2 + SLACK
    assert "stopping" in echo.cli.run("logs", old, *echo.scope).stdout
    assert happened(echo, old)["ReplicaRemoved"][0] <= happened(echo, new)["DeploymentSucceeded"][0]
    # A version that ends when it is told to, with no overlap, waits for neither.
    assert echo.up(APPS / "echo")["status"] == "SUCCESS"
    assert seconds_between(echo, new, "DeploymentRemoving", "ReplicaRemoved") < SLACK


@pytest.mark.slow
async def test_an_open_request_holds_the_old_version_no_longer_than_its_connection_drain_seconds(echo: Service) -> None:
    await in_background(lambda: echo.configure(connectionDrainSeconds=3))
    await in_background(echo.up, APPS / "echo")
    old = (await in_background(echo.deployments))[0]["id"]
    endless = asyncio.ensure_future(fetch(echo.target("/stream?s=100"), timeout=60))
    await asyncio.sleep(0)
    assert (await in_background(echo.up, APPS / "echo"))["status"] == "SUCCESS"
    assert 3 <= seconds_between(echo, old, "DeploymentRemoving", "ReplicaTerminating") < 3 + SLACK
    (cut,) = await asyncio.gather(endless, return_exceptions=True)
    assert not isinstance(cut, Outcome), "the old version answered to the end"
    assert isinstance(cut, EOFError | OSError), cut
