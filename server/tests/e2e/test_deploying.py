"""Zero failed requests through every change, and no request answered by the wrong version."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from e2e.conftest import APPS, Service, Trackside, until
from edge.load import Load, fetch


async def in_background(action: Callable[..., Any], *arguments: object) -> Any:
    """Run a blocking command beside the load."""
    return await asyncio.to_thread(action, *arguments)


def swap_of(deployment: dict[str, Any]) -> tuple[float, float]:
    """When the swap of the traffic was decided, and when the edge had confirmed it; on the clock of the load."""
    step = next(step for step in deployment["steps"] if step["name"] == "CONFIGURE_NETWORK")
    ahead = time.time() - time.monotonic()
    decided, confirmed = (datetime.fromisoformat(step[at]).timestamp() - ahead for at in ("started_at", "completed_at"))
    return decided, confirmed


def assert_swapped(load: Load, deployment: dict[str, Any], old: bytes, new: bytes) -> None:
    """Nothing failed; before the swap was decided only the old version answered, after it was confirmed only the new one."""
    assert load.failures == [], load.summary()
    decided, confirmed = swap_of(deployment)
    before, after = load.bodies(lambda o: o.ended < decided), load.bodies(lambda o: o.started > confirmed)
    assert (set(before), set(after)) == ({old}, {new}), (before, after)


async def test_no_request_fails_and_none_gets_the_wrong_version_through_a_deploy_and_a_rollback(echo: Service) -> None:
    first = echo.deployments()[0]["id"]
    echo.set(VERSION="2")
    async with echo.load(200) as load:
        assert (await in_background(echo.up, APPS / "echo"))["status"] == "SUCCESS"
    assert_swapped(load, echo.deployments()[0], b"1", b"2")
    async with echo.load(200) as back:
        assert (await in_background(echo.command, "rollback", first))["status"] == "SUCCESS"
    assert_swapped(back, echo.deployments()[0], b"2", b"1")


async def test_no_request_fails_through_scaling_variables_and_restart(echo: Service) -> None:
    async with echo.load(200) as load:
        await in_background(echo.cli.run, "scale", "5", *echo.scope)
        await in_background(until, lambda: echo.instance["replicas"] == {"wanted": 5, "healthy": 5}, 60, "5 replicas")
        await in_background(echo.cli.run, "scale", "2", *echo.scope)
        await in_background(until, lambda: len(echo.instance["active_deployment"]["replicas"]) == 2, 60, "2 replicas")
        await in_background(echo.cli.run, "variables", "set", "VERSION=2", *echo.scope)
        await in_background(until, lambda: echo.is_settled, 90, "variables deployed")
        changed = echo.deployments()[0]
        await in_background(echo.cli.run, "restart", *echo.scope)
        await in_background(until, lambda: echo.is_settled, 90, "restarted")
    assert_swapped(load, changed, b"1", b"2")


async def test_a_ten_second_request_in_flight_finishes_on_the_old_version(echo: Service) -> None:
    echo.set(VERSION="2")
    slow = asyncio.ensure_future(fetch(echo.target("/slow?s=10"), timeout=40))
    await asyncio.sleep(0)
    deploying = asyncio.ensure_future(in_background(echo.up, APPS / "echo"))
    while (await fetch(echo.target())).body != b"2":
        await asyncio.sleep(0.05)
    assert not slow.done(), "the swap came after the request's end: nothing was shown"
    answered = await slow
    assert (await deploying)["status"] == "SUCCESS"
    assert (answered.status, answered.body) == (200, b"1")
    assert echo.get("/").text == "2"


async def test_one_of_three_replicas_killed_fails_nothing_but_what_it_had_begun(
    echo: Service, trackside: Trackside
) -> None:
    echo.cli.run("scale", "3", *echo.scope)
    until(lambda: echo.instance["replicas"]["healthy"] == 3)
    victim = echo.get("/replica").text
    container = trackside.engine("ps", "-q", "--filter", f"label=dev.trackside.replica={victim}").strip()
    async with echo.load(200) as load:
        while len(load.outcomes) < 200:
            await asyncio.sleep(0.05)
        await in_background(trackside.engine, "kill", container)
        await in_background(until, lambda: echo.instance["replicas"]["healthy"] == 3, 60, "3 again")
    lost = load.failures
    assert len(lost) <= 1, load.summary()


def test_a_newer_deployment_supersedes_one_under_way_and_both_records_end_true(echo: Service) -> None:
    echo.configure(healthcheckPath="/health")
    echo.set(HEALTHY_AFTER="1000")
    started = echo.cli.json("up", str(APPS / "echo"), "--detach", *echo.scope)
    echo.cli.run("variables", "delete", "HEALTHY_AFTER", "--skip-deploy", *echo.scope)
    newer = echo.up(APPS / "echo")
    assert newer["status"] == "SUCCESS"
    until(lambda: all(d["status"] in ("SUCCESS", "REMOVED") for d in echo.deployments()))
    older = next(d for d in echo.deployments() if d["id"] == started["deployment_id"])
    assert older["status"] == "REMOVED"
    assert "Superseded" in older["reason"]


def test_cancel_ends_a_deployment_under_way_and_the_old_version_serves_on(echo: Service) -> None:
    echo.configure(healthcheckPath="/health")
    echo.set(HEALTHY_AFTER="1000", VERSION="2")
    started = echo.cli.json("up", str(APPS / "echo"), "--detach", *echo.scope)
    until(lambda: echo.deployments()[0]["status"] == "DEPLOYING")
    echo.cli.run("cancel", *echo.scope)
    ended = until(
        lambda: next((d for d in echo.deployments() if d["id"] == started["deployment_id"] and d["ended_at"]), None)
    )
    assert ended["status"] == "REMOVED"
    assert "Cancelled" in ended["reason"]
    assert echo.get("/").text == "1"


def test_taking_down_keeps_service_and_variables(echo: Service) -> None:
    echo.set(KEPT="yes")
    echo.cli.run("down", "--yes", *echo.scope)
    until(lambda: echo.instance["active_deployment"] is None)
    assert echo.get("/").status_code == 503
    names = [v["name"] for v in echo.cli.json("variables", "list", *echo.scope)]
    assert "KEPT" in names
    assert echo.up(APPS / "echo")["status"] == "SUCCESS"


def test_variables_reach_the_app_byte_for_byte(echo: Service) -> None:
    values = {
        "EMPTY": "",
        "LINES": "a\nb\n",
        "QUOTES": "'\"`",
        "DOLLAR": "$HOME ${X} $$",
        "LONG": "x" * 65536,
        "UNICODE": "é✓",
    }
    answer = echo.api.patch(f"/v1/service-instances/{echo.instance['id']}/variables", json={"variables": values})
    assert answer.json()["changed"] == sorted(values)
    until(lambda: echo.is_settled, 90)
    for name, value in values.items():
        assert echo.get(f"/variable?name={name}").json() == value


def test_logs_are_kept_after_the_container_is_gone(echo: Service) -> None:
    first = echo.deployments()[0]["id"]
    assert echo.get("/log?line=remember-me").status_code == 200
    echo.set(VERSION="2")
    echo.up(APPS / "echo")
    text = echo.cli.run("logs", first, *echo.scope).stdout
    assert "remember-me" in text
    assert "stopping" in text
