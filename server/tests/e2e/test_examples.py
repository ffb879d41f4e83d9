"""Every example is deployed with the command line as its reader would, and then used."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import websockets

from builds.conftest import registry, workplace
from builds.git_servers import GitHttpServer, WorkRepository
from e2e.conftest import CHECKOUT, Service, Trackside, until

EXAMPLES = CHECKOUT / "examples"
DATASETTE = "01-datasette"
UPLOADED = ("02-fastapi", "03-static", "04-dockerfile", "05-worker", "06-node")
TOKEN = "example-token-of-the-git-server"

__all__ = ["registry", "workplace"]  # fixtures of the builds' tests


@dataclass
class Deployed:
    """The examples as services of one project, each with what its deployment said."""

    project: str
    services: dict[str, Service]
    outcomes: dict[str, dict[str, Any]]

    def __getitem__(self, name: str) -> Service:
        """The service of an example, which was deployed well."""
        assert self.outcomes[name]["status"] == "SUCCESS", self.outcomes[name]
        return self.services[name]


def example(name: str, into: Path) -> Path:
    """A copy of an example's files, as a user's checkout holds them."""
    return Path(shutil.copytree(EXAMPLES / name, into / name))


@pytest.fixture(scope="module")
def deployed(trackside: Trackside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """All examples at once: Datasette out of a git repository that asks for a token, the others by `up`."""
    project = f"examples-{uuid4().hex[:8]}"
    trackside.cli.run("project", "create", project)
    copies = tmp_path_factory.mktemp("examples")
    services = {name: trackside.service(project, name.partition("-")[2]) for name in (DATASETTE, *UPLOADED)}
    with ThreadPoolExecutor(len(services)) as pool:
        waiting = {name: pool.submit(services[name].up, example(name, copies)) for name in UPLOADED}
        waiting[DATASETTE] = pool.submit(deploy_from_git, services[DATASETTE], tmp_path_factory.mktemp("git"))
    yield Deployed(project, services, {name: one.result() for name, one in waiting.items()})
    trackside.cli.run("project", "delete", project, "--yes")


def deploy_from_git(service: Service, directory: Path) -> dict[str, Any]:
    """Deploy the sub-directory of a repository; the token comes from a variable, never from an argument."""
    repository = WorkRepository(directory / "town.git")
    example(DATASETTE, repository.work / "apps")
    sha = repository.commit_tree()
    cli = replace(service.cli, environment={**service.cli.environment, "GIT_TOKEN": TOKEN})
    with GitHttpServer(directory, token=TOKEN) as server:
        source = ("--repo", f"{server.url}/town.git", "--path", f"apps/{DATASETTE}", "--token-env", "GIT_TOKEN")
        outcome = cli.json("deploy", *source, *service.scope)
    assert service.deployments()[0]["commit"]["sha"] == sha
    return outcome


def test_datasette_from_git_answers_a_query(deployed: Deployed) -> None:
    service = deployed[DATASETTE]
    answer = service.get("/trees.json?sql=select+name+from+species+where+height_m+>+30+order+by+name&_shape=array")
    assert answer.json() == [{"name": "Ash"}, {"name": "London plane"}]
    assert TOKEN not in service.logs("--build") + json.dumps(service.deployments())


def test_fastapi_answers_and_keeps_what_it_is_told(deployed: Deployed) -> None:
    service = deployed["02-fastapi"]
    assert service.get("/health").json() == {"status": "ok"}
    url, headers = f"http://127.0.0.1:{service.edge_port}", {"Host": service.host}
    made = httpx.post(f"{url}/notes", json={"text": "é✓"}, headers=headers, trust_env=False)
    assert made.status_code == 201
    assert service.get(f"/notes/{made.json()['id']}").json() == {"text": "é✓"}
    assert service.get("/slow?seconds=3").json() == {"slept": 3.0}
    assert service.get("/version").json()["deployment"] == service.deployments()[0]["id"]


async def test_fastapi_speaks_websocket_and_sends_events(deployed: Deployed) -> None:
    service = deployed["02-fastapi"]
    connecting = websockets.connect(f"ws://{service.host}/echo", host="127.0.0.1", port=service.edge_port, proxy=None)
    async with connecting as socket:
        for text in ("one", "x" * 60_000):
            await socket.send(text)
            assert await socket.recv() == text
    answer = service.get("/ticks?count=3")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [line for line in answer.text.splitlines() if line.startswith("data:")] == [
        f"data: tick {n}" for n in range(3)
    ]


def test_the_static_site_has_types_etags_and_a_page_for_what_is_missing(deployed: Deployed) -> None:
    service = deployed["03-static"]
    index = service.get("/")
    assert "Tide table" in index.text
    assert index.headers["content-type"].startswith("text/html")
    assert service.get("/css/site.css").headers["content-type"].startswith("text/css")
    again = httpx.get(
        f"http://127.0.0.1:{service.edge_port}/",
        headers={"Host": service.host, "If-None-Match": index.headers["etag"]},
        trust_env=False,
    )
    assert again.status_code == 304
    missing = service.get("/no-such-page")
    assert missing.status_code == 404
    assert "The tide took this page" in missing.text
    assert service.get("/.git/config").status_code == 404


def test_the_dockerfile_app_answers_and_hears_the_stop_signal(deployed: Deployed) -> None:
    service = deployed["04-dockerfile"]
    assert service.get("/").text.startswith("Hello from ")
    first = service.deployments()[0]["id"]
    service.cli.run("down", "--yes", *service.scope)
    until(lambda: service.instance["active_deployment"] is None, what="taken down")
    until(lambda: "ending" in service.logs(first), 20, "its goodbye")
    assert service.get("/").status_code == 503


def test_the_worker_succeeds_without_a_url_logs_and_scales(deployed: Deployed) -> None:
    service = deployed["05-worker"]
    assert service.deployments()[0]["url"] is None
    until(lambda: "samples, average load" in service.logs(), 30, "its first sample")
    service.cli.run("scale", "2", *service.scope)
    until(lambda: service.instance["replicas"] == {"wanted": 2, "healthy": 2}, what="two workers")
    until(lambda: service.logs().count("worker started") == 2, 20, "both have started")


def test_the_node_service_redirects(deployed: Deployed) -> None:
    service = deployed["06-node"]
    url, headers = f"http://127.0.0.1:{service.edge_port}", {"Host": service.host}
    made = httpx.post(f"{url}/links", json={"url": "https://example.org/a"}, headers=headers, trust_env=False)
    answer = service.get(f"/{made.json()['code']}")
    assert (answer.status_code, answer.headers["location"]) == (302, "https://example.org/a")
    assert httpx.post(f"{url}/links", json={"url": "nonsense"}, headers=headers, trust_env=False).status_code == 400


def test_a_redeploy_without_changes_builds_out_of_the_cache(deployed: Deployed) -> None:
    service = deployed["02-fastapi"]
    before = service.deployments()[0]
    assert service.command("redeploy")["status"] == "SUCCESS"
    after = service.deployments()[0]
    assert after["id"] != before["id"]
    assert after["image_id"] == before["image_id"]
    assert "CACHED" in service.logs("--build")
    assert service.get("/version").json()["deployment"] == after["id"]


def test_an_image_out_of_a_registry_is_deployed(deployed: Deployed, trackside: Trackside, registry: str) -> None:
    name = f"{registry}/links:1"
    image = deployed["06-node"].deployments()[0]["image_id"]
    trackside.engine("tag", image, name)
    trackside.engine("push", "--quiet", name)
    trackside.engine("rmi", name)
    service = trackside.service(deployed.project, "from-registry")
    assert service.command("deploy", "--image", name)["status"] == "SUCCESS"
    assert service.get("/").json()["service"] == "short-links"
    assert service.deployments()[0]["image_id"] == image
    missing = service.command("deploy", "--image", f"{registry}/links:2", ok=False)
    assert missing["status"] == "FAILED"
    assert "links:2" in missing["reason"]
    assert service.get("/").json()["service"] == "short-links"
