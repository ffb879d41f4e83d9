"""Cancel in every phase: it ends at once, the old version serves on, and nothing of it is left anywhere."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from builds.git_servers import GitHttpServer, WorkRepository, _Handler, processes_with
from e2e.conftest import APPS, Service, Trackside, until
from e2e.slow_registry import SlowRegistry
from trackside.host.layout import system_layout

AT_ONCE = 3.0
"""Seconds within which a cancelled deployment has ended, on a busy machine too."""


@dataclass(frozen=True)
class Traces:
    """All that a deployment under way may put somewhere."""

    directories: frozenset[str]  # of sources, fetches and running builds
    containers: frozenset[str]
    images: frozenset[str]  # names and content ids on the engine that runs apps
    archives: frozenset[str]  # what that engine is unpacking

    @classmethod
    def seen(cls, trackside: Trackside) -> "Traces":
        builds = trackside.home / "builds"
        parents = (builds / "trees", builds / "fetches", builds / "buildkit" / "running")
        installation = json.loads((trackside.home / "settings.json").read_text())["installation"]
        engine = system_layout(installation, trackside.home).data
        images = trackside.engine("images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
        return cls(
            frozenset(str(path) for parent in parents if parent.exists() for path in parent.iterdir()),
            frozenset(trackside.engine("ps", "-aq", "--no-trunc").split()),
            frozenset(images.splitlines()),
            frozenset(str(path) for path in engine.glob("*/tmp/docker-import-*")),
        )


@dataclass
class Watched:
    """A deployment under way on a service that serves; `cancel` shows that it ends without a trace."""

    service: Service
    trackside: Trackside
    before: Traces
    id: str

    @property
    def deployment(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.service.api.get(f"/v1/deployments/{self.id}").json()
        return answer

    def open_step(self) -> str:
        steps = self.deployment["steps"]
        return str(steps[-1]["name"]) if steps and steps[-1]["completed_at"] is None else ""

    def left(self) -> str:
        """For a failing assertion."""
        return f"nothing is left of it: {self.before} is again, not {Traces.seen(self.trackside)}"

    def cancel(self, step: str) -> None:
        """Cancel in this step."""
        asked = time.monotonic()
        answer = self.service.api.post(f"/v1/deployments/{self.id}/cancel")
        assert answer.status_code == 202, answer.text
        ended = self.deployment
        assert time.monotonic() - asked < AT_ONCE
        assert (ended["status"], ended["reason"]) == ("REMOVED", "Cancelled by tests."), ended
        assert ended["ended_at"]
        assert (ended["steps"][-1]["name"], ended["steps"][-1]["error"]) == (step, "Cancelled by tests.")
        until(lambda: Traces.seen(self.trackside) == self.before, 20, self.left)
        assert time.monotonic() - asked < AT_ONCE + 5, "what it left went late"
        assert self.service.get("/").text == "1"
        assert self.service.instance["active_deployment"]["status"] == "SUCCESS"


@pytest.fixture
def begin(echo: Service, trackside: Trackside) -> Callable[..., Watched]:
    """Begins a deployment of the echo service without waiting for it."""

    def make(*command: str) -> Watched:
        before = Traces.seen(trackside)
        said = echo.cli.json(*command, "--detach", *echo.scope)
        return Watched(echo, trackside, before, said["deployment_id"])

    return make


@contextlib.contextmanager
def a_git_server_that_never_answers(root: Path) -> Iterator[GitHttpServer]:
    released = threading.Event()

    def hang(request: _Handler) -> bool:
        released.wait(60)
        request.close_connection = True
        return True

    with GitHttpServer(root, answer=hang) as server:
        try:
            yield server
        finally:
            released.set()


@pytest.mark.slow
def test_while_the_source_is_fetched(begin: Callable[..., Watched], tmp_path: Path) -> None:
    WorkRepository(tmp_path / "app.git").commit({"main.py": "print()"})
    with a_git_server_that_never_answers(tmp_path) as server:
        watched = begin("deploy", "--repo", f"{server.url}/app.git")
        until(lambda: server.requests and watched.open_step() == "SNAPSHOT_CODE")
        assert processes_with(server.url)
        watched.cancel("SNAPSHOT_CODE")
        assert processes_with(server.url) == []


def test_while_it_is_built(begin: Callable[..., Watched], tmp_path: Path) -> None:
    mark = f"sleep 9{uuid4().int % 10**6:06d}"
    (tmp_path / "Dockerfile").write_text(f"FROM debian:bookworm-slim\nRUN {mark}\n")
    watched = begin("up", str(tmp_path))
    argument = mark.replace(" ", "\0")
    until(lambda: processes_with(argument))
    watched.cancel("BUILD_IMAGE")
    until(lambda: processes_with(argument) == [], 5, "the build's step has ended")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["moved", "unpacked"])
def test_while_the_image_is_published(begin: Callable[..., Watched], tmp_path: Path, moment: str) -> None:
    """While the archive is on its way, and when all of it is with the engine, which unpacks it."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM debian:bookworm-slim\nRUN head -c 500000000 /dev/urandom > /random && echo {uuid4()}\n"
    )
    watched = begin("up", str(tmp_path))
    until(lambda: watched.open_step() == "PUBLISH_IMAGE", 120)
    until(lambda: is_reached(watched, moment), 60, moment)
    watched.cancel("PUBLISH_IMAGE")


def is_reached(watched: Watched, moment: str) -> bool:
    archives = [Path(one) for one in Traces.seen(watched.trackside).archives]
    return any(is_whole(one) for one in archives) if moment == "unpacked" else bool(archives)


def is_whole(archive: Path) -> bool:
    """Whether the engine has the last file of an image's archive, its manifest."""
    return (archive / "manifest.json").exists()


def test_while_an_image_is_pulled(begin: Callable[..., Watched]) -> None:
    with SlowRegistry() as registry:
        watched = begin("deploy", "--image", registry.image)
        until(registry.begun.is_set)
        watched.cancel("PUBLISH_IMAGE")
        assert registry.gone.wait(5), "the engine goes on pulling"


def changed(directory: Path) -> Path:
    """The echo app with a line of its own, so that its image is no other's."""
    directory.mkdir()
    (directory / "main.py").write_text((APPS / "echo" / "main.py").read_text() + f"# {uuid4()}\n")
    return directory


def test_while_the_pre_deploy_command_runs(begin: Callable[..., Watched], echo: Service, tmp_path: Path) -> None:
    mark = f"sleep 9{uuid4().int % 10**6:06d}"
    echo.configure(preDeployCommand=mark, drainingSeconds=1)  # `sleep` ignores that it is told to end
    watched = begin("up", str(changed(tmp_path / "app")))
    argument = mark.replace(" ", "\0")
    until(lambda: processes_with(argument))
    watched.cancel("PRE_DEPLOY_COMMAND")
    assert processes_with(argument) == []


@pytest.mark.slow
def test_while_its_replicas_are_verified(begin: Callable[..., Watched], echo: Service, tmp_path: Path) -> None:
    echo.configure(healthcheckPath="/health")
    echo.set(HEALTHY_AFTER="1000", VERSION="2")
    watched = begin("up", str(changed(tmp_path / "app")))
    until(lambda: watched.open_step() == "HEALTHCHECK")
    watched.cancel("HEALTHCHECK")
