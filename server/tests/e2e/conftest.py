"""One real platform for all end-to-end tests: started by the host's own commands, driven by the command line, stopped after."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.authority import Authority
from edge.load import Load, Target

CHECKOUT = Path(__file__).parents[3]
APPS = Path(__file__).parent / "apps"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cli:
    """The command line, as a new user types it."""

    environment: dict[str, str]

    def run(
        self, *arguments: str, ok: bool = True, stdin: bytes | None = None, seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; with `ok`, one that must succeed."""
        outcome = subprocess.run(
            [str(CHECKOUT / "bin" / "trackside"), *arguments],
            env=self.environment,
            input=stdin.decode() if stdin else "",
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if ok:
            assert outcome.returncode == 0, f"{arguments}: {outcome.stdout}{outcome.stderr}"
        return outcome

    def json(self, *arguments: str, ok: bool = True) -> Any:
        """Run a command with --json; what it printed."""
        return json.loads(self.run(*arguments, "--json", ok=ok).stdout)


@dataclass
class Service:
    """A service under test."""

    cli: Cli
    api: httpx.Client
    project: str
    name: str
    edge_port: int
    environment: str = "production"

    @property
    def scope(self) -> tuple[str, ...]:
        return ("--project", self.project, "--service", self.name, "--environment", self.environment)

    @property
    def host(self) -> str:
        return str(self.instance["host"])

    @property
    def instance(self) -> dict[str, Any]:
        projects = self.cli.json("status", "--project", self.project)
        return next(
            i
            for project in projects
            for e in project["environments"]
            if e["name"] == self.environment
            for i in e["service_instances"]
            if i["service_name"] == self.name
        )

    def target(self, path: str = "/", method: str = "GET") -> Target:
        return Target(self.host, self.edge_port, path=path, method=method)

    def load(self, rate: float = 200, **options: Any) -> Load:
        return Load(self.target(options.pop("path", "/"), options.pop("method", "GET")), rate, **options)

    def get(self, path: str = "/", host: str | None = None) -> httpx.Response:
        """One request through the edge."""
        return httpx.get(
            f"http://127.0.0.1:{self.edge_port}{path}", headers={"Host": host or self.host}, timeout=30, trust_env=False
        )

    def set(self, **variables: str) -> None:
        """Set variables without deploying."""
        pairs = [f"{name}={value}" for name, value in variables.items()]
        self.cli.run("variables", "set", *pairs, "--skip-deploy", *self.scope)

    def up(self, directory: Path, ok: bool = True) -> dict[str, Any]:
        """Upload and deploy; what the command line says at the end."""
        return self.cli.json("up", str(directory), *self.scope, ok=ok)

    def command(self, *arguments: str, ok: bool = True) -> Any:
        """A command on this service, with --json."""
        return self.cli.json(*arguments, *self.scope, ok=ok)

    def configure(self, **deploy: Any) -> None:
        """Set keys of the service's deploy config."""
        instance = self.instance
        patch = {"services": {instance["service_id"]: {"deploy": deploy}}}
        answer = self.api.patch(f"/v1/environments/{instance['environment_id']}/config", json={"patch": patch})
        assert answer.status_code == 200, answer.text

    @property
    def is_settled(self) -> bool:
        """Whether the newest deployment serves, alone."""
        latest = self.deployments()[0]
        return latest["status"] == "SUCCESS" and self.instance["active_deployment"]["id"] == latest["id"]

    def deployments(self) -> list[dict[str, Any]]:
        return self.cli.json("deployments", *self.scope)

    def logs(self, *arguments: str) -> str:
        return self.cli.run("logs", *arguments, *self.scope).stdout


@dataclass
class Trackside:
    """The running platform."""

    home: Path
    cli: Cli
    status: dict[str, Any]
    api: httpx.Client

    @property
    def edge_port(self) -> int:
        return int(self.status["edge_url"].rsplit(":", 1)[1])

    @property
    def pids(self) -> dict[str, int]:
        """The process that does the work of each name; 0 where none does."""
        processes = self.cli.json("server", "status", ok=False)["processes"]
        return {one["name"]: int(one["pid"]) for one in processes}

    def service(self, project: str, name: str) -> Service:
        return Service(self.cli, self.api, project, name, self.edge_port)

    def engine(self, *arguments: str) -> str:
        """The engine that runs apps, asked by its own program."""
        url = json.loads((self.home / "settings.json").read_text())["engine_url"]
        return subprocess.run(
            ["/usr/bin/docker", "-H", url, *arguments], capture_output=True, text=True, check=True, timeout=60
        ).stdout


def until(condition: Callable[[], Any], seconds: float = 60, what: str | Callable[[], object] = "") -> Any:
    """The first true value of the condition; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"never came true: {what() if callable(what) else what or condition}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A company's certificate authority, which the platform is told to trust."""
    return Authority.make(tmp_path_factory.mktemp("authority"))


@contextmanager
def running_platform(**settings: str) -> Iterator[Trackside]:
    """The platform, started as `make demo` starts it, in a state directory of its own; stopped and removed after."""
    home = Path(tempfile.mkdtemp(prefix="ts-e2e-"))
    home.chmod(0o711)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TRACKSIDE_")},
        "TRACKSIDE_HOME": str(home),
        "TRACKSIDE_API_PORT": str(free_port()),
        "TRACKSIDE_EDGE_PORT": str(free_port()),
        "TRACKSIDE_FILE_SOURCE_ROOTS": json.dumps([tempfile.gettempdir(), str(CHECKOUT)]),
        "TRACKSIDE_ALLOW_PRIVATE_SOURCES": "true",
        **settings,
    }
    cli = Cli(environment)
    cli.run("server", "start")
    try:
        status = cli.json("server", "status")
        token = cli.run("server", "token", "--name", "tests").stdout.strip()
        cli.environment["TRACKSIDE_TOKEN"] = token
        with httpx.Client(
            base_url=status["api_url"], headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        ) as api:
            yield Trackside(home, cli, status, api)
    finally:
        logs = home / "logs" / "platform"
        kept = Path(os.environ.get("TRACKSIDE_TEST_LOGS", ""))
        if os.environ.get("TRACKSIDE_TEST_LOGS") and logs.exists():
            shutil.copytree(logs, kept, dirs_exist_ok=True)
        cli.run("server", "stop")
        installation = json.loads((home / "settings.json").read_text())["installation"]
        shutil.rmtree(home)
        shutil.rmtree(Path("/var/lib/trackside") / installation, ignore_errors=True)


@pytest.fixture(scope="session")
def trackside(authority: Authority) -> Iterator[Trackside]:
    """One platform for all end-to-end tests: in whatever order modules come, it is started once."""
    with running_platform(TRACKSIDE_CA_BUNDLE=str(authority.bundle)) as platform:
        yield platform


@pytest.fixture
def echo(trackside: Trackside, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The test app, its first version serving; a project of its own, deleted afterwards."""
    name = "t" + format(abs(hash(request.node.name)) % 10**8, "d")
    service = trackside.service(name, "echo")
    service.up(APPS / "echo")
    yield service
    trackside.cli.run("project", "delete", name, "--yes")
