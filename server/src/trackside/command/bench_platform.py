"""The platform that is measured: one of its own in a directory that goes away, or the one that runs; its API and its engine."""

import asyncio
import io
import json
import shutil
import socket
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from trackside import bootstrap
from trackside.host.layout import REGISTER
from trackside.kit.errors import Kind, TracksideError
from trackside.kit.ids import new_id

OVER = frozenset({"SUCCESS", "FAILED", "CRASHED", "SKIPPED", "REMOVED"})
LOOK = 0.05
"""Seconds between questions whether a deployment is over. What is measured comes from the events, not from these."""
PATIENCE = 1200.0


class BenchFailed(TracksideError):
    code = "command.bench_failed"
    kind = Kind.UNAVAILABLE
    hint = "Look at the machine with `trackside server doctor`, and whether the example can be deployed by hand."


@dataclass(frozen=True)
class Attempt:
    """A deployment that reached SUCCESS. `accepted` is when the 202 was here; all times are of this machine's clock."""

    accepted: datetime
    deployment: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def succeeded(self) -> datetime:
        return next(moment(e["at"]) for e in reversed(self.events) if e["type"] == "DeploymentSucceeded")

    @property
    def wall(self) -> float:
        """Seconds from the 202 to SUCCESS."""
        return (self.succeeded - self.accepted).total_seconds()


@dataclass(frozen=True)
class Platform:
    """A running platform with a project of the bench's own."""

    api: httpx.AsyncClient
    engine: httpx.AsyncClient
    status: Mapping[str, Any]
    settings: Mapping[str, Any]
    project: str
    environment: Mapping[str, str]
    instances: dict[str, str] = field(default_factory=dict)

    @property
    def edge_port(self) -> int:
        return int(self.status["edge_url"].rsplit(":", 1)[1])

    def pid(self, process: str) -> int:
        """The pid of one of the platform's processes, as it was when the bench began. Errors: `StopIteration`."""
        return next(found["pid"] for found in self.status["processes"] if found["name"] == process)

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """One call of the API. Errors: `BenchFailed` with the API's own sentence."""
        answer = await self.api.request(method, f"/v1{path}", **options)
        if answer.is_error:
            raise BenchFailed(f"{method} {path} was answered with {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    async def instance(self, service: str) -> str:
        """The service instance of this name, made at the first call."""
        if service not in self.instances:
            await self.ask("POST", f"/projects/{self.project}/services", json={"name": service})
            project = await self.ask("GET", f"/projects/{self.project}")
            for found in project["environments"][0]["service_instances"]:
                self.instances[found["service_name"]] = found["id"]
        return self.instances[service]

    async def host(self, service: str) -> str:
        """The service's host name."""
        found = await self.ask("GET", f"/service-instances/{await self.instance(service)}")
        return str(found["host"])

    async def upload(self, service: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        """Send files as `trackside up` does; the source to deploy."""
        path = f"/service-instances/{await self.instance(service)}/uploads"
        received = await self.ask("POST", path, content=archive(files))
        return {"kind": "upload", "upload_id": received["upload_id"]}

    async def request(self, service: str, source: Mapping[str, Any] | None) -> tuple[datetime, dict[str, Any]]:
        """Ask for a deployment: when the 202 was here, and the deployment."""
        path = f"/service-instances/{await self.instance(service)}/deployments"
        requested = await self.ask("POST", path, json={"source": source} if source else {})
        return datetime.now(UTC), requested

    async def deploy(self, service: str, source: Mapping[str, Any] | None) -> Attempt:
        """Deploy and wait for SUCCESS. Errors: `BenchFailed` with the deployment's reason."""
        accepted, requested = await self.request(service, source)
        return await self.finish(accepted, requested["id"])

    async def finish(self, accepted: datetime, deployment_id: str) -> Attempt:
        """Wait until the deployment is over."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = await self.ask("GET", f"/deployments/{deployment_id}")
            if found["status"] == "SUCCESS":
                events = await self.ask("GET", f"/deployments/{deployment_id}/events")
                return Attempt(accepted, found, events["events"])
            if found["status"] in OVER:
                raise BenchFailed(f"A deployment of the bench ended as {found['status']}: {found['reason']}")
            await asyncio.sleep(LOOK)
        raise BenchFailed(f"A deployment of the bench was not over within {PATIENCE:g} s.")


def moment(text: str) -> datetime:
    """An RFC 3339 time; more than six digits of a second are cut off."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{fraction[:6].ljust(6, '0')}+00:00")


def archive(files: Mapping[str, bytes]) -> bytes:
    """Files as a tar."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def read_directory(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its relative path."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@asynccontextmanager
async def platform(is_here: bool) -> AsyncGenerator[Platform]:
    """The running platform (`is_here`), or one that lives as long as the measurement."""
    if is_here:
        async with _joined(bootstrap.given()) as found:
            yield found
        return
    home = Path(tempfile.mkdtemp(prefix="trackside-bench-"))
    home.chmod(0o711)  # PostgreSQL runs as another user and must be able to pass through
    environment = {k: v for k, v in bootstrap.given().items() if not k.startswith("TRACKSIDE_")} | {
        "TRACKSIDE_HOME": str(home),
        "TRACKSIDE_API_PORT": str(free_port()),
        "TRACKSIDE_EDGE_PORT": str(free_port()),
    }
    try:
        await host_command(environment, "server", "start")
        async with _joined(environment) as found:
            yield found
    finally:
        settings: dict[str, str] = {}
        if (home / "settings.json").exists():
            settings = json.loads((home / "settings.json").read_text())
        await host_command(environment, "server", "stop")
        shutil.rmtree(home, ignore_errors=True)
        if settings.get("installation"):
            shutil.rmtree(REGISTER / settings["installation"], ignore_errors=True)


@asynccontextmanager
async def _joined(environment: Mapping[str, str]) -> AsyncGenerator[Platform]:
    status = json.loads(await host_command(environment, "server", "status", "--json"))
    token = (await host_command(environment, "server", "token", "--name", "bench")).strip()
    settings = json.loads((Path(status["data_dir"]) / "settings.json").read_text())
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(base_url=status["api_url"], headers=headers, timeout=60, trust_env=False) as api,
        engine_client(settings["engine_url"]) as engine,
    ):
        made = await api.post("/v1/projects", json={"name": f"bench-{new_id().hex[-8:]}"})
        project = made.raise_for_status().json()["id"]
        found = Platform(api, engine, status, settings, project, environment)
        try:
            yield found
        finally:
            await found.ask("DELETE", f"/projects/{found.project}")
            await _until_gone(found)


async def _until_gone(found: Platform) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (await found.api.get(f"/v1/projects/{found.project}")).status_code == 404:
            return
        await asyncio.sleep(LOOK)


def engine_client(url: str) -> httpx.AsyncClient:
    """The engine's own API, so that no other program's start is measured with it."""
    if url.startswith("unix://"):
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix("unix://"))
        return httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=60)
    return httpx.AsyncClient(base_url=url.replace("tcp://", "http://"), timeout=60, trust_env=False)


async def host_command(environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command of the host as its own process; what it printed. Errors: `BenchFailed`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trackside", *arguments),
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate()
    if process.returncode:
        raise BenchFailed(f"`trackside {' '.join(arguments)}` failed: {(complaint or output).decode().strip()}")
    return output.decode()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
