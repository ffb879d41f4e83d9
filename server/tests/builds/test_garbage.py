"""Garbage on real engines: what is ours and nobody's goes, down to its volumes; what only looks like ours is never touched."""

import io
import json
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from multidict import CIMultiDict

from builds.engines import TestEngine
from conftest import Platform
from contracts.builder import START, Lines
from contracts.workloads import App, a_workload
from converging.world import ADDRESSING
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.buildkit.options import BuildKitOptions
from trackside.adapters.docker.connection import Engine
from trackside.adapters.docker.images import DockerImages
from trackside.adapters.docker.manifests import LABEL, DockerOptions, container_labels, container_name, network_name
from trackside.adapters.docker.runtime import DockerRuntime
from trackside.adapters.memory.disks import MemoryDisks
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.adapters.memory.sources import MemorySources
from trackside.adapters.objects.folder import UploadFolder
from trackside.bootstrap import DeploymentLogs
from trackside.kit.garbage import Allowance, Freed
from trackside.rooms.builds.model import BuildOrder
from trackside.rooms.builds.service import Builds, Workshop
from trackside.rooms.deployments.model import Limits, Network
from trackside.rooms.deployments.service.engine import Defaults, World
from trackside.rooms.deployments.service.engine import Engine as Rooms
from trackside.rooms.projects.service import Vault

pytestmark = pytest.mark.timeout(300)
NOWHERE = IPv4Network("10.208.7.0/24")


@dataclass
class Shared:
    """An engine on which two installations and people with containers of their own live."""

    engine: Engine
    rooms: Rooms
    images: DockerImages
    runtime: DockerRuntime
    installation: str
    other: str

    async def image(self, *changes: str, name: str = "") -> str:
        """An image with a file in it, by content id."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.addfile(tarfile.TarInfo(uuid4().hex))
        repository, _, tag = name.partition(":")
        parameters = [("fromSrc", "-"), *(("changes", change) for change in changes)]
        parameters += [("repo", repository), ("tag", tag or "latest")] if name else []
        body = data.getvalue()
        query = CIMultiDict(parameters)
        async with self.engine._query("images/create", "POST", params=query, data=body) as answer:  # type: ignore[arg-type]
            return str(json.loads(await answer.text())["status"])

    async def container(self, name: str, image: str, labels: dict[str, str]) -> str:
        body: dict[str, Any] = {
            "Image": image,
            "Cmd": ["/none"],
            "Labels": labels,
            "HostConfig": {"NetworkMode": "none"},
        }
        return (await self.engine.containers.create(body, name=name)).id

    async def everything(self) -> dict[str, set[str]]:
        containers = await self.engine.containers.list(all=True)
        volumes = (await self.engine.volumes.list())["Volumes"] or []
        return {
            "containers": {container.id for container in containers},
            "images": {image["Id"] for image in await self.engine.images.list(all=True)},
            "networks": {network["Id"] for network in await self.engine.networks.list()},
            "volumes": {volume["Name"] for volume in volumes},
        }


@pytest.fixture
async def shared(app_engine: TestEngine, platform: Platform, tmp_path: Path) -> AsyncIterator[Shared]:
    installation, other = uuid4().hex[:8], uuid4().hex[:8]
    engine = Engine(app_engine.url)
    networks = {network["Id"] for network in await engine.networks.list()}
    images = DockerImages(app_engine.url, installation)
    runtime = DockerRuntime(app_engine.url, installation, DockerOptions(interface_prefix=f"t{installation[:4]}"))
    builder = BuildKitBuilder(BuildKitOptions(tmp_path / "state", app_engine.url, app_engine.url))
    builds = Builds(
        MemorySources(), builder, images, UploadFolder(tmp_path, 1), Workshop(tmp_path / "trees", {})
    )  # fmt: skip

    async def nothing(*_: object) -> None:
        """No log is collected here."""

    rooms = Rooms(
        platform.database,
        Vault(platform.keyring),
        World(runtime, builds, DeploymentLogs(MemoryLogStore(), nothing, nothing), MemoryDisks()),
        Defaults(ADDRESSING, Limits(), 5),
    )
    yield Shared(engine, rooms, images, runtime, installation, other)
    # Bridges outlive the engine: each run would leave some, until no address is left for the next.
    for network in await engine.networks.list():
        if network["Id"] not in networks:
            await (await engine.networks.get(network["Id"])).delete()
    for closing in (engine, images, runtime, builder):
        await closing.close()


def label(installation: str) -> str:
    return f'LABEL {LABEL}installation="{installation}"'


async def look_alikes(shared: Shared) -> None:
    """Things of others that share all but the one mark with ours."""
    workload = a_workload(App("none"), NOWHERE)
    ours, theirs = shared.installation, shared.other
    named = await shared.image(label(theirs), name=f"trackside/{theirs}/{uuid4().hex}/{uuid4().hex}:latest")
    await shared.image(label(theirs))
    await shared.image()
    await shared.image(name=f"trackside/{ours}x/{uuid4().hex}/{uuid4().hex}:latest")
    tagged_by_hand = await shared.image(label(ours), name="their/own:1")
    await shared.container(f"theirs-{theirs}", named, container_labels(workload, theirs))
    await shared.container(container_name(ours, uuid4()), named, {})
    await shared.container(f"by-hand-{ours}", tagged_by_hand, {"any": "label"})
    for name, labels, subnet in (
        (network_name(ours, uuid4()), {}, "10.208.8.0/24"),
        (f"n-{theirs}", {f"{LABEL}installation": theirs, f"{LABEL}environment": str(uuid4())}, "10.208.9.0/24"),
    ):
        addresses = {"Driver": "default", "Config": [{"Subnet": subnet}]}
        await shared.engine.networks.create({"Name": name, "Labels": labels, "IPAM": addresses})
    await shared.engine.volumes.create({"Name": f"ts-{ours}-volume"})


async def test_nothing_that_only_looks_like_ours_is_touched(shared: Shared) -> None:
    await look_alikes(shared)
    before = await shared.everything()
    assert await shared.rooms.collect() == []
    assert await shared.everything() == before


async def test_what_is_ours_and_on_no_record_goes_with_its_anonymous_volumes(shared: Shared) -> None:
    await look_alikes(shared)
    before = await shared.everything()
    workload = a_workload(App("none"), NOWHERE)
    held = await shared.image(label(shared.installation), "VOLUME /data")
    await shared.images.keep(held, f"{workload.service_instance_id.hex}/{workload.deployment_id.hex}")
    await shared.image(label(shared.installation))
    await shared.container(
        container_name(shared.installation, workload.replica_id), held, container_labels(workload, shared.installation)
    )
    await shared.runtime.ensure_network(Network(workload.environment_id, NOWHERE))
    middle = await shared.everything()
    assert {kind: len(middle[kind] - before[kind]) for kind in middle} == {
        "containers": 1,
        "images": 2,
        "networks": 1,
        "volumes": 1,
    }
    told = await shared.rooms.collect(is_trial=True)
    assert await shared.everything() == middle, "a trial removed something"
    assert [(one.kind, one.count) for one in told] == [
        ("containers without a service", 1),
        ("networks without an environment", 1),
        ("images nobody can go back to", 1),
        ("built images without a deployment", 1),
    ]
    assert await shared.rooms.collect() == told
    assert await shared.everything() == before
    assert await shared.rooms.collect() == []


async def test_the_build_cache_keeps_within_its_allowance(
    options: BuildKitOptions, order: Callable[..., BuildOrder]
) -> None:
    generous = BuildKitBuilder(options)
    for _ in range(2):
        await generous.build(
            order(f"{START}COPY . /app/\nRUN dd if=/dev/urandom of=/x bs=1M count=8\n", {"a": uuid4().hex}), Lines()
        )
    assert [one for one in await generous.collect(is_idle=False) if one.kind == "build cache"] == []
    small = BuildKitBuilder(replace(options, cache=Allowance(timedelta(days=1), 1 << 20)))
    (told,) = [one for one in await small.collect(is_idle=True, is_trial=True) if one.kind == "build cache"]
    assert told.count >= 2
    assert told.size_bytes > 16 << 20
    gone = {one.kind: one for one in await small.collect(is_idle=True)}
    assert gone.keys() >= {"images of ended builds", "base images", "build cache"}
    assert gone["build cache"].size_bytes > 0
    assert await small.collect(is_idle=True, is_trial=True) == []
    young = BuildKitBuilder(replace(options, cache=Allowance(timedelta(0), None)))
    await young.build(order(f"{START}COPY . /app/\n", {"a": uuid4().hex}), Lines())
    assert [one.kind for one in await young.collect(is_idle=False)] == ["build cache"]
    for builder in (generous, small, young):
        await builder.close()


async def test_what_a_killed_builder_left_of_a_base_image_goes_when_it_is_old(
    options: BuildKitOptions, tmp_path: Path
) -> None:
    builder = BuildKitBuilder(replace(options, directory=tmp_path))
    directory = tmp_path / "base-images"
    (directory / "mmdebstrap.AbCd" / "etc").mkdir(parents=True)
    for name in ("debian-bookworm.layer", "debian-bookworm.tar", "young.layer"):
        (directory / name).write_bytes(b"1234")
    for name in ("mmdebstrap.AbCd", "debian-bookworm.layer", "debian-bookworm.tar"):
        os.utime(directory / name, (1, 1))
    (freed,) = [one for one in await builder.collect(is_idle=False) if one.kind.startswith("files")]
    assert freed == Freed("files of broken-off base images", 2, freed.size_bytes)
    assert {path.name for path in directory.iterdir()} == {"debian-bookworm.tar", "young.layer"}
    await builder.close()
