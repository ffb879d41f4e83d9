"""What people do to a service, each as something that is begun, may be struck by a kill anywhere, and must end true."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import httpx

from e2e.conftest import until
from survival.truth import differences
from survival.world import END_STATES, Service, World
from trackside.adapters.docker.manifests import container_name


@dataclass
class Operation:
    """`prepare` makes the state it starts from, `begin` asks for it until it was taken, `end` waits and looks.

    `serving` is the version that answers all the while, or "" where the service is to be gone.
    """

    world: World
    service: Service
    serving: ClassVar[str] = "1"

    def prepare(self) -> None:
        """Make the state that the operation starts from."""

    def begin(self) -> None:
        """Ask for it; asked again while nobody answers."""

    def end(self) -> None:
        """Wait for the end, and look whether it is the true one."""

    def settled(self, status: str) -> None:
        """The newest deployment ends like this, with every step closed."""
        until(lambda: self.service.newest["status"] == status, 90, lambda: self.service.newest)
        for deployment in self.service.deployments:
            if deployment["status"] in END_STATES:
                open_steps = [step["name"] for step in deployment["steps"] if step["completed_at"] is None]
                assert open_steps == [], deployment


class Restart(Operation):
    """All replicas are replaced by fresh ones of the same image: the shortest way through a deployment."""

    def prepare(self) -> None:
        self.count = len(self.service.deployments)

    def begin(self) -> None:
        self.world.insist("POST", f"{self.service.path}/restart", lambda: len(self.service.deployments) > self.count)

    def end(self) -> None:
        self.settled("SUCCESS")
        assert len(self.service.deployments) == self.count + 1


class Scale(Operation):
    """One replica more."""

    wanted, before = 2, 1

    def prepare(self) -> None:
        if self.service.shape["replicas"]["wanted"] != self.before:
            back = Scale(self.world, self.service)
            back.wanted = self.before
            back.begin()
            back.end()

    def begin(self) -> None:
        self.world.insist(
            "POST",
            f"{self.service.path}/scale",
            lambda: self.service.shape["replicas"]["wanted"] == self.wanted,
            json={"replicas": self.wanted},
        )

    def end(self) -> None:
        wanted = {"wanted": self.wanted, "healthy": self.wanted}
        until(lambda: self.service.shape["replicas"] == wanted, 60, lambda: self.service.shape)


class ScaleDown(Scale):
    """One replica less."""

    wanted, before = 1, 2


class Deploy(Restart):
    """An upload is built and deployed; unpacking, building and publishing are all done anew."""

    def begin(self) -> None:
        self.world.insist(
            "POST",
            f"{self.service.path}/deployments",
            lambda: len(self.service.deployments) > self.count,
            json={"source": {"kind": "upload", **self.service.upload()}},
        )


class Rollback(Restart):
    """Back to the version before."""

    def prepare(self) -> None:
        if not self.replaced():
            restart = Restart(self.world, self.service)
            for act in (restart.prepare, restart.begin, restart.end):
                act()
        super().prepare()

    def begin(self) -> None:
        path = f"/v1/deployments/{self.replaced()[0]['id']}/rollback"
        self.world.insist("POST", path, lambda: len(self.service.deployments) > self.count)

    def replaced(self) -> list[dict[str, Any]]:
        """Those that served and whose image is still kept; others failed, or were cancelled."""
        past = [one for one in self.service.deployments if (one["reason"] or "").startswith("Replaced by")]
        return [one for one in past if one["image_id"]]


class Cancel(Restart):
    """A deployment that never becomes healthy is cancelled."""

    def prepare(self) -> None:
        super().prepare()
        self.service.configure(healthcheckPath="/health")
        self.service.set(HEALTHY_AFTER="1000")
        self.service.deploy()
        until(lambda: self.service.newest["steps"] and self.service.newest["steps"][-1]["name"] == "HEALTHCHECK")
        self.cancelled = self.service.newest["id"]

    def begin(self) -> None:
        path = f"/v1/deployments/{self.cancelled}"
        self.world.insist("POST", f"{path}/cancel", lambda: self.world.get(path)["status"] == "REMOVED")

    def end(self) -> None:
        self.settled("REMOVED")
        assert self.service.newest["reason"] == "Cancelled by tests."
        self.service.configure(healthcheckPath=None)
        self.service.set(HEALTHY_AFTER="0")


class Failing(Restart):
    """A deployment whose program ends at once fails, with the reason."""

    def prepare(self) -> None:
        super().prepare()
        self.service.set(EXIT_AFTER="0.1")
        self.service.configure(restartPolicyType="NEVER")

    def begin(self) -> None:
        self.service.deploy()

    def end(self) -> None:
        self.settled("FAILED")
        assert self.service.newest["reason"]
        until(lambda: self.world.ask("PATCH", f"{self.service.path}/variables", json=self.without), 60)
        self.service.configure(restartPolicyType=None)

    without: ClassVar = {"variables": {"EXIT_AFTER": None}, "skip_deploy": True}


@dataclass
class OnItsOwn(Operation):
    """An operation that uses its service up."""

    serving: ClassVar[str] = ""

    def prepare(self) -> None:
        self.service = self.world.service()


class Down(OnItsOwn):
    """The active deployment is removed; the service stays."""

    def begin(self) -> None:
        self.world.insist("POST", f"{self.service.path}/down", lambda: not self.service.shape["active_deployment"])

    def end(self) -> None:
        self.settled("REMOVED")
        assert self.service.shape["active_deployment"] is None


class Delete(OnItsOwn):
    """The whole project goes, with all that was made for it."""

    def prepare(self) -> None:
        super().prepare()
        self.service.upload()
        self.environment = self.service.shape["environment_id"]
        until(lambda: self.world.networks(self.environment))

    def begin(self) -> None:
        path = f"/v1/projects/{self.service.project_id}"
        self.world.insist("DELETE", path, lambda: self.world.get(path) is None)

    def end(self) -> None:
        until(lambda: self.world.get(f"/v1/projects/{self.service.project_id}") is None)
        until(lambda: self.world.networks(self.environment) == [], 60, lambda: "its network is gone")


class Forget(Delete):
    """The same, until the logs too are gone: half a minute later, when their writers have noticed."""

    def prepare(self) -> None:
        super().prepare()
        self.logs = f"logs/apps/*/*/{self.service.newest['id']}"
        assert self.left()

    def end(self) -> None:
        super().end()
        until(lambda: not self.left(), 90, self.left)

    def left(self) -> list[Path]:
        return list(self.world.platform.home.glob(self.logs))


class Crash(OnItsOwn):
    """The program ends again and again: restarted as often as it may be, then CRASHED; and it can be brought back."""

    def prepare(self) -> None:
        super().prepare()
        self.service.configure(restartPolicyType="ON_FAILURE", restartPolicyMaxRetries=1)
        Restart(self.world, self.service).prepare()
        self.service.deploy()
        self.service.until_serving("1")

    def begin(self) -> None:
        deadline = time.monotonic() + 60
        while self.service.newest["status"] != "CRASHED" and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                self.service.says("/exit")
            time.sleep(0.1)

    def end(self) -> None:
        self.settled("CRASHED")


class Recover(OnItsOwn):
    """A crashed replica is started by hand, and serves again."""

    serving: ClassVar[str] = "1"

    def prepare(self) -> None:
        crash = Crash(self.world, self.service)
        crash.prepare()
        crash.begin()
        crash.end()
        self.service = crash.service

    def begin(self) -> None:
        replica = self.service.newest["replicas"][0]["id"]
        own = f"label=dev.trackside.replica={replica}"
        container = until(lambda: self.world.engine("ps", "-aq", "--filter", own).strip())
        until(lambda: self.world.engine("start", container).strip() == container)

    def end(self) -> None:
        self.settled("SUCCESS")


class Sicken(OnItsOwn):
    """A replica says that it is ill, and is replaced by itself begun anew."""

    serving: ClassVar[str] = "1"

    def prepare(self) -> None:
        super().prepare()
        self.service.configure(healthcheckPath="/health")
        self.service.deploy()
        self.service.until_serving("1")

    def begin(self) -> None:
        assert self.service.says("/sicken") == "1"

    def end(self) -> None:
        until(lambda: self.service.status_of("/health") == 200, 60, lambda: self.service.shape)
        until(lambda: self.service.shape["replicas"]["healthy"] == 1, 60, lambda: self.service.shape)
        self.settled("SUCCESS")


class Waiting(Restart):
    """A deployment that the engine is not there for: it says what it waits for, and goes on when the engine is back."""

    def begin(self) -> None:
        until(lambda: self.world.stop("engine"), 60)
        super().begin()
        until(self.waits_or_is_over, 60, lambda: self.service.newest)
        until(lambda: self.world.supervise("startProcess", "engine"), 60)

    def waits_or_is_over(self) -> bool:
        """A supervisor that was killed starts the engine when it is back: it is stopped again."""
        newest = self.service.newest
        if newest["reason"] or newest["status"] in END_STATES:
            return True
        if self.world.is_up("engine"):
            self.world.stop("engine")
        return False


class Stray(Operation):
    """A container with our labels that nobody has on record, as a kill between two lines could leave one."""

    def begin(self) -> None:
        like = self.world.engine("ps", "-q", "--filter", f"label=dev.trackside.service-instance={self.service.id}")
        shown = json.loads(self.world.engine("inspect", like.split()[0]))[0]
        replica_id = uuid4()
        labels = shown["Config"]["Labels"] | {"dev.trackside.replica": str(replica_id)}
        name = container_name(self.world.layout.installation, replica_id)
        options = [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]
        until(lambda: self.world.engine("create", "--name", name, *options, shown["Image"]).strip())

    def end(self) -> None:
        until(lambda: not differences(self.world), 60, lambda: differences(self.world))


class First(Operation):
    """A project with a service, an environment, and a first deployment."""

    def begin(self) -> None:
        name = f"made-{time.monotonic_ns()}"

        def made() -> dict[str, str] | None:
            return next((p for p in self.world.get("/v1/projects")["projects"] if p["name"] == name), None)

        self.world.insist("POST", "/v1/projects", lambda: made() is not None, json={"name": name})
        project = made()
        assert project
        path = f"/v1/projects/{project['id']}"
        for kind, wanted in (("services", "web"), ("environments", "preview")):

            def is_there(kind: str = kind, wanted: str = wanted) -> bool:
                return wanted in [one["name"] for one in self.world.get(path)[kind]]

            self.world.insist("POST", f"{path}/{kind}", is_there, json={"name": wanted})
            assert is_there()
        environments = self.world.get(path)["environments"]
        self.service = Service(self.world, name, project["id"], environments[0]["service_instances"][0]["id"])
        self.service.set(VERSION="1")
        self.service.deploy()

    def end(self) -> None:
        self.settled("SUCCESS")


CHEAPEST_FIRST: tuple[type[Operation], ...] = (
    Restart,
    Scale,
    ScaleDown,
    Rollback,
    First,
    Failing,
    Cancel,
    Down,
    Delete,
    Deploy,
    Crash,
    Recover,
    Sicken,
    Waiting,
    Stray,
    Forget,
)
"""The first ones change a service that serves meanwhile."""
TAKING_TURNS = {Restart, Scale, ScaleDown, Rollback, First, Cancel, Delete, Deploy}
"""Those that take turns where several come to a step: each day another one is struck there."""
LATER: dict[str, type[Operation]] = {"telemetry.drop_logs": Forget}
"""Steps that come so long after what leads to them that only this operation waits for them; others may see those of the last one."""


@contextmanager
def under_way(operation: Operation) -> Iterator[Future[None]]:
    """Do it in the background, for a halted process answers nobody; what went wrong there is raised here."""

    def do() -> None:
        operation.begin()
        operation.end()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(do)
        yield future
        future.result(200)
