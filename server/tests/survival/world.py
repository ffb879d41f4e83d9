"""The platform under test as one who kills sees it: its processes by name, its failpoints, and what must be true in the end."""

import io
import itertools
import json
import os
import signal
import socket
import subprocess
import tarfile
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from e2e.conftest import APPS, Trackside, until
from trackside.host import locks
from trackside.host.layout import Layout, system_layout
from trackside.host.supervisor_rpc import call_plainly
from trackside.kit.failpoints import ARMED, HALTED, PASSED

END_STATES = {"SUCCESS", "FAILED", "CRASHED", "SKIPPED", "REMOVED"}
ASK_AGAIN = {502, 503, 504}
_names = itertools.count()


def archive(directory: Path) -> bytes:
    """The directory as an upload."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(directory.rglob("*")):
            if "__pycache__" not in path.parts:
                tar.add(path, str(path.relative_to(directory)))
    return buffer.getvalue()


@dataclass
class World:
    """A running platform. Requests to its API are asked again while it is away, as a careful client does."""

    platform: Trackside
    folder: Path
    image: str = ""
    services: list["Service"] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        installation = json.loads((self.platform.home / "settings.json").read_text())["installation"]
        return system_layout(installation, self.platform.home)

    # --- processes ---

    def pid(self, name: str) -> int | None:
        return locks.holder(self.layout.locks / name)

    def kill(self, name: str) -> int:
        """SIGKILL, by the id of the process that does the work of this name; that id."""
        pid = until(lambda: self.pid(name), 30, lambda: f"{name} runs")
        os.kill(pid, signal.SIGKILL)
        return pid

    def is_edge_back(self, killed: int) -> bool:
        """Whether another HAProxy than the one that was killed listens for clients."""
        if self.pid("haproxy") in (None, killed):
            return False
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.platform.edge_port), timeout=1):
            return True
        return False

    def is_up(self, name: str) -> bool:
        return self.pid(name) is not None

    def supervise(self, method: str, name: str) -> bool:
        """Have the supervisor start or stop a process; whether it is so now, or False where nobody is there to do it."""
        with suppress(OSError):
            with suppress(xmlrpc.client.Fault):  # it is so already
                call_plainly(self.layout.supervisor_socket, method, name, seconds=30)
            return True
        return False

    def stop(self, name: str) -> bool:
        """Have nobody do the work of this name; whether the supervisor was there to be told.

        A supervisor that was brought back stops only the successor that waits: what its predecessor ran is ended here.
        """
        if not self.supervise("stopProcess", name):
            return False
        with suppress(ProcessLookupError):
            if pid := self.pid(name):
                os.kill(pid, signal.SIGKILL)
                until(lambda: self.pid(name) != pid, 30, lambda: f"{name} ends")
        return True

    # --- failpoints ---

    def arm(self, process: str, point: str) -> None:
        (self.folder / ARMED / f"{process}@{point}").touch()

    def let_go(self, process: str, point: str) -> None:
        (self.folder / HALTED / f"{process}@{point}").unlink(missing_ok=True)

    def disarm(self) -> None:
        """Let everybody go, and halt nobody any more."""
        for kind in (ARMED, HALTED):
            for file in (self.folder / kind).glob("*"):
                file.unlink(missing_ok=True)

    def is_halted(self, process: str, point: str) -> bool:
        return (self.folder / HALTED / f"{process}@{point}").exists()

    def passed(self) -> set[tuple[str, str]]:
        """(process, point) of all that was come to since this was asked last."""
        found = list((self.folder / PASSED).iterdir())
        for file in found:
            file.unlink()
        return {(process, point) for process, _, point in (file.name.partition("@") for file in found)}

    # --- the API ---

    def ask(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        """One request; None where nobody answered it, or only that it must be asked again."""
        with suppress(httpx.TransportError):
            answer = self.platform.api.request(method, path, **content)
            if answer.status_code not in ASK_AGAIN:
                return answer
        return None

    def get(self, path: str) -> Any:
        """What the API says, as soon as it does; None for what is not there."""
        answer: httpx.Response = until(lambda: self.ask("GET", path), 60, lambda: f"GET {path} is answered")
        assert answer.status_code in (200, 404), answer.text
        return answer.json() if answer.status_code == 200 else None

    def insist(self, method: str, path: str, is_done: Callable[[], bool], **content: Any) -> None:
        """Ask until it has taken effect, which `is_done` tells where no answer came."""
        while True:
            answer = self.ask(method, path, **content)
            if answer is not None:
                assert answer.status_code < 300 or is_done(), answer.text
                return
            if is_done():
                return

    # --- services ---

    def service(self) -> "Service":
        """A new project with one service, its first version serving."""
        name = f"s{next(_names)}"

        def made() -> dict[str, Any] | None:
            return next((one for one in self.get("/v1/projects")["projects"] if one["name"] == name), None)

        self.insist("POST", "/v1/projects", lambda: made() is not None, json={"name": name})
        project = made()
        assert project
        path = f"/v1/projects/{project['id']}"
        self.insist("POST", f"{path}/services", lambda: self.get(path)["services"], json={"name": "echo"})
        instance = self.get(path)["environments"][0]["service_instances"][0]
        service = Service(self, name, project["id"], instance["id"])
        self.services.append(service)
        service.set(VERSION="1")
        service.deploy()
        service.until_serving("1", 300)
        self.image = service.newest["image_id"]
        return service

    def clear(self) -> None:
        """Delete every project that earlier tests have left, and wait until the engine has nothing of them."""
        for project in self.get("/v1/projects")["projects"]:
            path = f"/v1/projects/{project['id']}"
            self.insist("DELETE", path, lambda path=path: self.get(path) is None)
        self.services.clear()
        self.image = ""  # it goes with them
        until(lambda: not self.containers(), 120, self.containers)

    def engine(self, *arguments: str) -> str:
        """The engine's own program; what it said, "" where it could not."""
        with suppress(subprocess.CalledProcessError):
            return self.platform.engine(*arguments)
        return ""

    def containers(self) -> set[str]:
        """Replica ids of all containers of the platform, running or not."""
        return self._labels("replica", "ps", "-a")

    def environments_with_networks(self) -> set[str]:
        """Environment ids of all networks of the platform."""
        return self._labels("environment", "network", "ls")

    def _labels(self, name: str, *listing: str) -> set[str]:
        """What this label of ours says on everything of the platform that the engine lists."""
        own = f"label=dev.trackside.installation={self.layout.installation}"
        return set(self.engine(*listing, "--filter", own, "--format", f'{{{{.Label "dev.trackside.{name}"}}}}').split())

    def networks(self, environment_id: str) -> list[str] | None:
        """The networks of an environment; None where the engine can't tell now."""
        of_it = f"label=dev.trackside.environment={environment_id}"
        with suppress(subprocess.CalledProcessError):
            return self.platform.engine("network", "ls", "-q", "--filter", of_it).split()
        return None


@dataclass
class Service:
    """One service instance."""

    world: World
    name: str
    project_id: str
    id: str

    @property
    def path(self) -> str:
        return f"/v1/service-instances/{self.id}"

    @property
    def shape(self) -> dict[str, Any]:
        return self.world.get(self.path)

    @property
    def newest(self) -> dict[str, Any]:
        return self.world.get(f"{self.path}/deployments?limit=1")["deployments"][0]

    @property
    def deployments(self) -> list[dict[str, Any]]:
        return self.world.get(f"{self.path}/deployments?limit=500")["deployments"]

    @cached_property
    def host(self) -> str:
        return self.shape["host"]

    def set(self, **variables: str) -> None:
        body = {"variables": variables, "skip_deploy": True}
        until(lambda: self.world.ask("PATCH", f"{self.path}/variables", json=body), 60)

    def configure(self, **deploy: Any) -> None:
        shape = self.shape
        patch = {"services": {shape["service_id"]: {"deploy": deploy}}}
        path = f"/v1/environments/{shape['environment_id']}/config"
        answer = until(lambda: self.world.ask("PATCH", path, json={"patch": patch}), 60)
        assert answer.status_code == 200, answer.text

    def deploy(self, uploaded: dict[str, str] | None = None) -> None:
        """Ask for a deployment: of what was uploaded, else of the image once there is one, else of an upload."""
        count = len(self.deployments)
        if self.world.image and uploaded is None:
            source = {"kind": "image", "reference": self.world.image}
        else:
            source = {"kind": "upload", **(uploaded or self.upload())}
        self.world.insist(
            "POST", f"{self.path}/deployments", lambda: len(self.deployments) > count, json={"source": source}
        )

    def delete(self) -> None:
        """With its project."""
        path = f"/v1/projects/{self.project_id}"
        self.world.insist("DELETE", path, lambda: self.world.get(path) is None)
        self.world.services.remove(self)

    def upload(self, body: bytes | None = None) -> dict[str, str]:
        """Upload an archive: the test app's, where none is given."""
        body = body or archive(APPS / "echo")
        answer = until(lambda: self.world.ask("POST", f"{self.path}/uploads", content=body), 60)
        assert answer.status_code == 201, answer.text
        return {"upload_id": answer.json()["upload_id"], "sha256": answer.json()["sha256"]}

    def ask(self, path: str = "/") -> httpx.Response | None:
        """What the service answers through the edge."""
        with suppress(httpx.TransportError):
            url = f"http://127.0.0.1:{self.world.platform.edge_port}{path}"
            return httpx.get(url, headers={"Host": self.host}, timeout=10, trust_env=False)
        return None

    def says(self, path: str = "/") -> str:
        answer = self.ask(path)
        return answer.text if answer else ""

    def status_of(self, path: str) -> int:
        answer = self.ask(path)
        return answer.status_code if answer else 0

    def until_serving(self, version: str, seconds: float = 90) -> None:
        """Until the newest deployment is a success, alone, and this version answers."""
        until(lambda: self.newest["status"] == "SUCCESS", seconds, lambda: self.newest)
        until(lambda: self.says() == version, 5, self.says)  # HAProxy may have been killed a moment ago
