"""The build queue on the real build engine with its one slot: three workspaces take turns, and cancelling frees the slot."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from builds.git_servers import processes_with
from e2e.conftest import Cli, Trackside, until

SCRIPT = Path(__file__).with_name("more_workspaces.py")
AT_ONCE = 5.0
"""Seconds within which the next build begins in a slot that was freed, on a busy machine too."""


@dataclass(frozen=True)
class Tenant:
    """Somebody of a workspace."""

    cli: Cli
    api: httpx.Client

    def ask(self, project: str, directory: Path, step: str) -> str:
        """Upload an app whose build has this step, without waiting; the deployment's id."""
        app = directory / project
        app.mkdir()
        (app / "Dockerfile").write_text(f'FROM debian:bookworm-slim\nRUN {step}\nCMD ["sleep", "infinity"]\n')
        return str(self.cli.json("up", str(app), "--detach", "--project", project, "--service", "web")["deployment_id"])

    def read(self, deployment: str) -> dict[str, Any]:
        return dict(self.api.get(f"/v1/deployments/{deployment}").raise_for_status().json())

    def place(self, deployment: str) -> int | None:
        queue = self.read(deployment)["queue"]
        return queue and int(queue["place"])

    def cancel(self, deployment: str) -> None:
        ended = self.api.post(f"/v1/deployments/{deployment}/cancel").raise_for_status().json()
        assert ended["status"] == "REMOVED"

    def begun_at(self, deployment: str) -> str:
        """When a slot took it."""
        history = self.api.get(f"/v1/deployments/{deployment}/events").raise_for_status().json()["events"]
        (at,) = [one["at"] for one in history if one["data"].get("status") == "BUILDING"]
        return str(at)

    def clear_away(self) -> None:
        for project in self.api.get("/v1/projects").raise_for_status().json()["projects"]:
            self.api.delete(f"/v1/projects/{project['id']}").raise_for_status()


@pytest.fixture
def tenants(trackside: Trackside) -> Iterator[list[Tenant]]:
    """Of the workspace that is always there, and of two more."""
    names = [f"w{uuid4().hex[:8]}" for _ in range(2)]
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), *names], env=trackside.cli.environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    made = [Tenant(trackside.cli, trackside.api)]
    for token in json.loads(ran.stdout).values():
        environment = {**trackside.cli.environment, "TRACKSIDE_TOKEN": token}
        headers = {"Authorization": f"Bearer {token}"}
        api = httpx.Client(base_url=trackside.api.base_url, headers=headers, timeout=60, trust_env=False)
        made.append(Tenant(replace(trackside.cli, environment=environment), api))
    yield made
    for one in made:
        one.clear_away()
    for one in made[1:]:
        one.api.close()


def test_workspaces_take_turns_and_a_cancelled_build_makes_room(tenants: list[Tenant], tmp_path: Path) -> None:
    first, second, third = tenants
    mark = f"sleep 9{uuid4().int % 10**6:06d}"
    argument = mark.replace(" ", "\0")
    blocking = first.ask("a0", tmp_path, mark)
    until(lambda: processes_with(argument), 240, lambda: f"it is built: {first.read(blocking)}")
    many = [first.ask(f"a{number}", tmp_path, f"echo {uuid4()}") for number in (1, 2, 3)]
    others = [second.ask("b1", tmp_path, f"echo {uuid4()}"), second.ask("b2", tmp_path, f"echo {uuid4()}")]
    another = third.ask("c1", tmp_path, f"echo {uuid4()}")

    assert first.place(blocking) is None
    assert [first.place(one) for one in many] == [3, 5, 6]
    assert [second.place(one) for one in others] == [1, 4]
    assert third.read(another)["queue"] == {"place": 2, "waiting": 6, "building": 1}
    assert "QUEUED, 3 of 6" in first.cli.run("deployments", "--project", "a1").stdout
    assert [one["place"] for one in first.cli.json("queue")["builds"]] == [None, 3, 5, 6]

    first.cancel(many[1])
    assert [first.place(one) for one in many] == [3, None, 5]

    freed = time.monotonic()
    first.cancel(blocking)
    until(lambda: second.place(others[0]) is None, AT_ONCE, "the next has the slot")
    took = time.monotonic() - freed
    assert processes_with(argument) == []
    print(f"the slot was freed and taken after {took:.2f} s")

    kept = [(second, others[0]), (third, another), (first, many[0]), (second, others[1]), (first, many[2])]
    for tenant, one in kept:
        until(lambda tenant=tenant, one=one: tenant.read(one)["status"] not in ("QUEUED", "BUILDING"), 120)
    assert sorted(kept, key=lambda pair: pair[0].begun_at(pair[1])) == kept
    assert [tenant.read(one)["image_id"] is not None for tenant, one in kept] == [True] * 5
