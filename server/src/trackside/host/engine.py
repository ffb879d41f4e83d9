"""The container engine that runs apps: the one that is there already, or one of our own.

An engine that answers at `DOCKER_HOST` or the usual socket is used, never configured and never stopped. Only where none
answers do we run one, on a containerd of ours, so that a killed dockerd comes back to its containers at once.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiodocker
import aiohttp

from trackside.host.commands import find_program
from trackside.host.engine_config import EnginePlan, containerd_toml, daemon_json, dockerd_argv
from trackside.host.errors import EngineUnavailable, PartFailed
from trackside.host.files import make_directory, write_text
from trackside.host.launch import Launch

USUAL_SOCKET = Path("/var/run/docker.sock")
EMBEDDED = "embedded"
READY_SECONDS = 60
INSTALLATION_LABEL = "dev.trackside.installation"


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs apps."""

    url: str
    is_ours: bool


@asynccontextmanager
async def client(url: str) -> AsyncGenerator[aiodocker.Docker]:
    """A connection to an engine."""
    docker = aiodocker.Docker(url=url)
    try:
        yield docker
    finally:
        await docker.close()


async def engine_info(url: str, seconds: float = 3) -> dict[str, Any] | None:
    """What the engine says of itself, or None where none answers."""
    with suppress(aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError, ValueError):
        async with asyncio.timeout(seconds), client(url) as docker:
            return cast("dict[str, Any]", await docker.system.info())  # pyright: ignore[reportUnknownMemberType]
    return None


async def choose_engine(
    environment: Mapping[str, str], own_socket: Path, remembered: str = "", usual_socket: Path = USUAL_SOCKET
) -> EngineChoice:
    """The engine to use; `remembered` is the URL used until now, for apps' images lie there.

    `TRACKSIDE_ENGINE_URL` decides where it is set (`embedded` = one of our own). Errors: `EngineUnavailable`.
    """
    ours = EngineChoice(f"unix://{own_socket}", is_ours=True)
    named = environment.get("TRACKSIDE_ENGINE_URL", "") or remembered
    if named in {EMBEDDED, ours.url}:
        return ours
    if named:
        if await engine_info(named) is None:
            raise EngineUnavailable(f"The container engine at {named}, which runs your apps, does not answer.")
        return EngineChoice(named, is_ours=False)
    for url in (environment.get("DOCKER_HOST", ""), f"unix://{usual_socket}"):
        if url and await engine_info(url) is not None:
            return EngineChoice(url, is_ours=False)
    return ours


def prepare_containerd(root: Path, run: Path, socket: Path) -> Launch:
    """Have containerd's configuration; how to start it."""
    make_directory(root, 0o711)
    make_directory(run, 0o711)
    config = run / "config.toml"
    write_text(config, containerd_toml(root, run / "state", socket), 0o600)
    return Launch(argv=(str(find_program("containerd")), "--config", str(config)))


def prepare_engine(plan: EnginePlan, *, join: str = "") -> Launch:
    """Have a dockerd's configuration; how to start it (in the control group `join`, where given)."""
    make_directory(plan.data, 0o710)
    make_directory(plan.run, 0o711)
    write_text(plan.config_file, daemon_json(plan), 0o600)
    return Launch(
        argv=dockerd_argv(find_program("dockerd"), plan),
        pid_files={str(plan.pid_file): str(plan.config_file)},
        control_group=join,
        wait_for=str(plan.containerd_socket),
    )


async def wait_for_engine(url: str, what: str, seconds: float = READY_SECONDS) -> None:
    """Return when the engine answers. Errors: `PartFailed`."""
    try:
        async with asyncio.timeout(seconds):
            while await engine_info(url) is None:
                await asyncio.sleep(0.05)
    except TimeoutError as late:
        raise PartFailed(f"{what} did not answer within {seconds:.0f} s.") from late


async def remove_containers(url: str, installation: str) -> int:
    """Remove every container of the installation, running or not; how many there were."""
    async with client(url) as docker:
        filters = {"label": [f"{INSTALLATION_LABEL}={installation}"]}
        found = await docker.containers.list(all=True, filters=filters)  # pyright: ignore[reportUnknownMemberType]
        for container in found:
            with _Missing():
                await container.delete(force=True, v=True)
    return len(found)


async def remove_networks(url: str, installation: str) -> int:
    """Remove every network of the installation; how many there were."""
    async with client(url) as docker:
        found = await docker.networks.list(filters={"label": [f"{INSTALLATION_LABEL}={installation}"]})
        for network in found:
            with _Missing():
                await (await docker.networks.get(network["Id"])).delete()
    return len(found)


async def image_names(docker: aiodocker.Docker) -> list[str]:
    """Every name of every image on an engine."""
    listed = cast("list[dict[str, list[str] | None]]", await docker.images.list())
    return [name for image in listed for name in image["RepoTags"] or ()]


async def remove_images(url: str, installation: str) -> int:
    """Remove every name of the installation's images, and with the last one the image; how many names there were."""
    async with client(url) as docker:
        names = [name for name in await image_names(docker) if name.startswith(f"trackside/{installation}/")]
        for name in names:
            with _Missing():
                await docker.images.delete(name)
    return len(names)


class _Missing:
    """A context that passes over what is gone already, or is going."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, aiodocker.DockerError) and error.status in {404, 409}
