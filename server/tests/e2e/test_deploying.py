"""Zero failed requests through every change, and no request answered by the wrong version."""

import asyncio
import time
from pathlib import Path

from e2e.conftest import APPS, Service, until
from edge.load import Load, Outcome, fetch


async def in_background(action: object, *arguments: object) -> object:
    """Run a blocking command beside the load."""
    return await asyncio.to_thread(action, *arguments)  # pyright: ignore[reportArgumentType]


def split(load: Load) -> tuple[list[Outcome], list[Outcome]]:
    """Answers of the old version and of the new one."""
    return [o for o in load.outcomes if o.body == b"1"], [o for o in load.outcomes if o.body == b"2"]


async def test_no_request_fails_and_none_gets_the_wrong_version_through_a_deploy_and_a_rollback(echo: Service) -> None:
    first = echo.deployments()[0]["id"]
    echo.set(VERSION="2")
    async with echo.load(200) as load:
        assert (await in_background(echo.up, APPS / "echo"))["status"] == "SUCCESS"
    assert load.failures == [], load.summary()
    old, new = split(load)
    assert old
    assert new
    # The swap is one moment: whatever started before the first answer of the new version is the old one's or was under
    # way at that moment, and nothing that started after the last start of an old answer is old.
    last_old_start = max(o.started for o in old)
    first_new_start = min(o.started for o in new)
    assert last_old_start - first_new_start < 0.05, f"versions overlap by {last_old_start - first_new_start:.3f} s"
    async with echo.load(200) as back:
        assert (await in_background(echo.command, "rollback", first))["status"] == "SUCCESS"
    assert back.failures == [], back.summary()
    assert back.outcomes[-1].body == b"1"


async def test_no_request_fails_through_scaling_variables_and_restart(echo: Service) -> None:
    async with echo.load(200) as load:
        await in_background(echo.cli.run, "scale", "5", *echo.scope)
        await in_background(until, lambda: echo.instance["replicas"] == {"wanted": 5, "healthy": 5}, 60, "5 replicas")
        await in_background(echo.cli.run, "scale", "2", *echo.scope)
        await in_background(until, lambda: len(echo.instance["active_deployment"]["replicas"]) == 2, 60, "2 replicas")
        await in_background(echo.cli.run, "variables", "set", "VERSION=2", *echo.scope)
        await in_background(until, lambda: settled(echo), 90, "variables deployed")
        await in_background(echo.cli.run, "restart", *echo.scope)
        await in_background(until, lambda: settled(echo), 90, "restarted")
    assert load.failures == [], load.summary()
    assert load.outcomes[-1].body == b"2"


def settled(service: Service) -> bool:
    latest = service.deployments()[0]
    return latest["status"] == "SUCCESS" and service.instance["active_deployment"]["id"] == latest["id"]


async def test_a_ten_second_request_in_flight_finishes_on_the_old_version(echo: Service) -> None:
    echo.set(VERSION="2")
    slow = asyncio.ensure_future(fetch(echo.target("/slow?s=10"), timeout=40))
    await asyncio.sleep(0)
    outcome = await in_background(echo.up, APPS / "echo")
    assert outcome["status"] == "SUCCESS"
    answered = await slow
    assert (answered.status, answered.body) == (200, b"1")
    assert echo.get("/").text == "2"


async def test_one_of_three_replicas_killed_fails_nothing_but_what_it_had_begun(echo: Service, trackside: object) -> None:
    echo.cli.run("scale", "3", *echo.scope)
    until(lambda: echo.instance["replicas"]["healthy"] == 3)
    victim = echo.get("/replica").text
    container = trackside.engine("ps", "-q", "--filter", f"label=dev.trackside.replica={victim}").strip()  # type: ignore[attr-defined]
    async with echo.load(200) as load:
        until_sent = time.monotonic() + 1
        while time.monotonic() < until_sent:
            await asyncio.sleep(0.05)
        await in_background(trackside.engine, "kill", container)  # type: ignore[attr-defined]
        await in_background(until, lambda: echo.instance["replicas"]["healthy"] == 3, 60, "3 again")
    lost = load.failures
    assert len(lost) <= 1, load.summary()


def test_a_newer_deployment_supersedes_one_under_way_and_both_records_end_true(echo: Service) -> None:
    echo.set(HEALTHY_AFTER="1000")
    echo.command("deploy", *source_of(echo), "--detach") if False else None
    started = echo.cli.json("up", str(APPS / "echo"), "--detach", *echo.scope)
    echo.cli.run("variables", "delete", "HEALTHY_AFTER", "--skip-deploy", *echo.scope)
    newer = echo.up(APPS / "echo")
    assert newer["status"] == "SUCCESS"
    until(lambda: all(d["status"] in ("SUCCESS", "REMOVED") for d in echo.deployments()))
    older = next(d for d in echo.deployments() if d["id"] == started["deployment_id"])
    assert older["status"] == "REMOVED"


def source_of(service: Service) -> tuple[str, ...]:
    return ()


def test_cancel_ends_a_deployment_under_way_and_the_old_version_serves_on(echo: Service) -> None:
    configure(echo, {"healthcheckPath": "/health"})
    echo.set(HEALTHY_AFTER="1000", VERSION="2")
    started = echo.cli.json("up", str(APPS / "echo"), "--detach", *echo.scope)
    until(lambda: echo.deployments()[0]["status"] == "DEPLOYING")
    echo.cli.run("cancel", *echo.scope)
    ended = until(lambda: next((d for d in echo.deployments() if d["id"] == started["deployment_id"] and d["ended_at"]), None))
    assert ended["status"] == "REMOVED"
    assert "Cancelled" in ended["reason"]
    assert echo.get("/").text == "1"


def configure(service: Service, deploy: dict[str, object]) -> None:
    """Set keys of the service's deploy config by REST."""
    import httpx

    instance = service.instance
    url = service.cli.json("server", "status")["api_url"]
    patch = {"services": {instance["service_id"]: {"deploy": deploy}}}
    answer = httpx.patch(
        f"{url}/v1/environments/{instance['environment_id']}/config",
        json={"patch": patch},
        headers={"Authorization": f"Bearer {service.cli.environment['TRACKSIDE_TOKEN']}"},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text


def test_taking_down_keeps_service_and_variables(echo: Service) -> None:
    echo.set(KEPT="yes")
    echo.cli.run("down", "--yes", *echo.scope)
    until(lambda: echo.instance["active_deployment"] is None)
    assert echo.get("/").status_code == 503
    names = [v["name"] for v in echo.cli.json("variables", "list", *echo.scope)]
    assert "KEPT" in names
    assert echo.up(APPS / "echo")["status"] == "SUCCESS"


def test_variables_reach_the_app_byte_for_byte(echo: Service) -> None:
    values = {"EMPTY": "", "LINES": "a\nb\n", "QUOTES": "'\"`", "DOLLAR": "$HOME ${X} $$", "LONG": "x" * 65536, "UNICODE": "é✓"}
    answer = patch_variables(echo, values)
    assert answer["changed"] == sorted(values)
    until(lambda: settled(echo), 90)
    for name, value in values.items():
        assert echo.get(f"/variable?name={name}").json() == value


def patch_variables(service: Service, values: dict[str, str]) -> dict[str, object]:
    import httpx

    url = service.cli.json("server", "status")["api_url"]
    answer = httpx.patch(
        f"{url}/v1/service-instances/{service.instance['id']}/variables",
        json={"variables": values},
        headers={"Authorization": f"Bearer {service.cli.environment['TRACKSIDE_TOKEN']}"},
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_logs_are_kept_after_the_container_is_gone(echo: Service) -> None:
    first = echo.deployments()[0]["id"]
    assert echo.get("/log?line=remember-me").status_code == 200
    echo.set(VERSION="2")
    echo.up(APPS / "echo")
    text = echo.cli.run("logs", first, *echo.scope).stdout
    assert "remember-me" in text
    assert "stopping" in text


def test_examples_directory_exists() -> None:
    assert (Path(__file__).parents[3] / "examples").is_dir()
