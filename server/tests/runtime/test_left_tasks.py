"""What a killed engine left half started: the container is made anew, and nothing of the first one stays."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network

import pytest
from aiohttp import web

from contracts.workloads import App, a_workload
from trackside.adapters.docker.runtime import DockerRuntime
from trackside.rooms.deployments.errors import RuntimeUnavailable

WORKLOAD = a_workload(App("sha256:app"), IPv4Network("10.230.0.0/24"))
LEFT = {"task": (500, "task 7d: already exists: unknown"), "container": (409, "id already in use")}
"""What the engine answers, by what containerd still has."""


@dataclass
class HalfStarted:
    """Answers as an engine for which containerd still has the first container, or its task."""

    left: tuple[int, str]
    made: int = 0
    removed: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def facts(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "NCPU": 2})

    async def create(self, _: web.Request) -> web.Response:
        self.made += 1
        return web.json_response({"Id": f"c{self.made}"}, status=201)

    async def show(self, _: web.Request) -> web.Response:
        labels = {"dev.trackside.installation": "0a1b2c3d", "dev.trackside.replica": str(WORKLOAD.replica_id)}
        return web.json_response({"Id": "c1", "Config": {"Labels": labels}})

    async def start(self, request: web.Request) -> web.Response:
        status, message = self.left
        is_first = request.match_info["id"] == "c1"
        return web.json_response({"message": message}, status=status) if is_first else web.Response(status=204)

    async def remove(self, request: web.Request) -> web.Response:
        self.removed.append((request.match_info["id"], dict(request.query)))
        return web.Response(status=204)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/{prefix:.*}{what:version|info}", self.facts),
            web.post("/{prefix:.*}containers/create", self.create),
            web.get("/{prefix:.*}containers/{id}/json", self.show),
            web.post("/{prefix:.*}containers/{id}/{verb:start|restart}", self.start),
            web.delete("/{prefix:.*}containers/{id}", self.remove),
        ]


@pytest.fixture(params=LEFT)
async def engine(request: pytest.FixtureRequest) -> HalfStarted:
    return HalfStarted(LEFT[request.param])


@pytest.fixture
async def runtime(engine: HalfStarted) -> AsyncIterator[DockerRuntime]:
    application = web.Application()
    application.add_routes(engine.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    with tempfile.TemporaryDirectory(prefix="engine") as folder:
        await web.UnixSite(runner, f"{folder}/docker.sock").start()
        runtime = DockerRuntime(f"unix://{folder}/docker.sock", "0a1b2c3d")
        yield runtime
        await runtime.close()
        await runner.cleanup()


async def test_a_start_that_finds_one_takes_its_containers_volumes_along(
    runtime: DockerRuntime, engine: HalfStarted
) -> None:
    await runtime.start(WORKLOAD)
    assert [(container, bool(query.get("v"))) for container, query in engine.removed] == [("c1", True)]
    assert engine.made == 2


async def test_a_restart_that_finds_one_takes_its_containers_volumes_along(
    runtime: DockerRuntime, engine: HalfStarted
) -> None:
    with pytest.raises(RuntimeUnavailable):
        await runtime.restart(WORKLOAD.replica_id, 1)
    assert [(container, bool(query.get("v"))) for container, query in engine.removed] == [("c1", True)]
