"""Base images come both ways: from a registry (also through a mirror), and from Debian packages."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from builds.engines import TestEngine
from contracts.builder import START, Lines, MakeOrder
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.adapters.buildkit.options import BaseImages, BuildKitOptions
from trackside.adapters.docker.connection import Engine
from trackside.rooms.builds.errors import BuildFailed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def engine(build_engine: TestEngine) -> AsyncIterator[Engine]:
    engine = Engine(build_engine.url)
    yield engine
    await engine.close()


@pytest.fixture
async def bootstrapped(docker_builder: BuildKitBuilder, order: MakeOrder) -> None:
    """A Debian that was made from packages is on the build engine."""
    await docker_builder.build(order(f"{START}RUN test -s /etc/ssl/certs/ca-certificates.crt\n"), Lines())


@pytest.fixture
async def mirror(bootstrapped: None, engine: Engine, registry: str) -> str:
    """A registry that has the image `library/debian:trixie-20260101`, and no other."""
    name = f"{registry}/hub/library/debian"
    await engine.images.tag("debian:bookworm-slim", name, tag="trixie-20260101")
    await engine.images.push(name, tag="trixie-20260101")
    await engine.images.delete(f"{name}:trixie-20260101")
    return f"{registry}/hub"


@pytest.mark.usefixtures("bootstrapped")
async def test_a_bootstrapped_image_has_nothing_of_this_machine(
    docker_builder: BuildKitBuilder, order: MakeOrder
) -> None:
    dockerfile = (
        f'{START}RUN test ! -e /etc/apt/apt.conf.d/99mmdebstrap && test -z "$(find /usr/share/man -type f)"\n'
        "RUN grep -q '^deb http://deb.debian.org/debian bookworm main' /etc/apt/sources.list\n"
        "RUN id -u nobody && test -d /usr/share/zoneinfo\n"
    )
    await docker_builder.build(order(dockerfile), Lines())


@pytest.mark.usefixtures("bootstrapped")
async def test_every_name_of_a_suite_is_the_same_image(docker_builder: BuildKitBuilder, order: MakeOrder) -> None:
    ids = [
        await docker_builder.build(order(f"FROM {name}\nCMD true\n"), Lines())
        for name in ("debian:bookworm", "debian:12", "debian:12.5-slim", "docker.io/library/debian:oldstable-slim")
    ]
    assert len(set(ids)) == 1


@pytest.mark.usefixtures("bootstrapped")
async def test_one_lost_by_the_engine_is_loaded_again_from_the_cache(
    docker_builder: BuildKitBuilder, order: MakeOrder, engine: Engine
) -> None:
    before = await engine.images.inspect("debian:bookworm-slim")
    for image in await engine.images.list():
        for tag in [tag for tag in image["RepoTags"] or [] if "debian:" in tag]:
            await engine.images.delete(tag, force=True)
    log = Lines()
    await asyncio.gather(*(docker_builder.build(order(f"{START}CMD true\n"), log) for _ in range(3)))
    assert "from packages" not in log.text
    assert (await engine.images.inspect("debian:bookworm-slim"))["Id"] == before["Id"]


async def test_a_mirror_is_asked_and_the_image_keeps_its_own_name(
    options: BuildKitOptions, mirror: str, order: MakeOrder, engine: Engine
) -> None:
    builder = BuildKitBuilder(replace(options, base_images=BaseImages.REGISTRY, registry_mirror=mirror))
    log = Lines()
    await builder.build(order("FROM debian:trixie-20260101\nCMD true\n"), log)
    await builder.close()
    assert mirror in log.text
    assert await engine.images.inspect("debian:trixie-20260101")


@pytest.mark.usefixtures("bootstrapped")
async def test_what_the_mirror_does_not_have_is_asked_for_without_it(
    options: BuildKitOptions, mirror: str, order: MakeOrder
) -> None:
    builder = BuildKitBuilder(replace(options, base_images=BaseImages.REGISTRY, registry_mirror=mirror))
    log = Lines()
    with pytest.raises(BuildFailed, match="no-such-image"):
        await builder.build(order("FROM no-such-image:1\nCMD true\n"), log)
    await builder.close()
    assert "no-such-image:1 is asked for without the mirror" in log.text


async def test_a_registry_that_has_it_is_used_before_packages_are(
    options: BuildKitOptions, mirror: str, order: MakeOrder, engine: Engine
) -> None:
    builder = BuildKitBuilder(replace(options, base_images=BaseImages.AUTO, registry_mirror=mirror))
    log = Lines()
    await builder.build(order(f"FROM {mirror}/library/debian:trixie-20260101\nCMD true\n"), log)
    await builder.close()
    assert "from packages" not in log.text


@pytest.mark.parametrize("step", ["FROM {}\n", "FROM scratch\nCOPY --from={} / /\n"])
async def test_a_registry_that_is_none_of_those_allowed_is_not_asked_for_what_a_dockerfile_names(
    options: BuildKitOptions, mirror: str, order: MakeOrder, step: str
) -> None:
    builder = BuildKitBuilder(replace(options, base_images=BaseImages.AUTO, registries=frozenset({"127.0.0.1:9"})))
    log = Lines()
    with pytest.raises(BuildFailed, match="may not be asked") as refused:
        await builder.build(order(step.format(f"{mirror}/team/app:1") + "CMD true\n"), log)
    await builder.close()
    assert "image_registries" in refused.value.hint
    assert "Pulling" not in log.text


@pytest.mark.usefixtures("bootstrapped")
async def test_without_a_registry_packages_are_used_and_it_is_said(
    options: BuildKitOptions, order: MakeOrder, engine: Engine
) -> None:
    builder = BuildKitBuilder(
        replace(options, base_images=BaseImages.AUTO, registry_mirror="127.0.0.1:9/nothing-listens-here")
    )
    log = Lines()
    await builder.build(order("FROM debian:bookworm-20260202-slim\nCMD true\n"), log)
    await builder.close()
    assert "made from packages instead" in log.text


@pytest.mark.parametrize(
    ("mode", "image"),
    [
        (BaseImages.REGISTRY, "debian:bullseye"),
        (BaseImages.AUTO, "alpine:3.20"),
        (BaseImages.BOOTSTRAP, "python:3.12-slim"),
        (BaseImages.AUTO, "127.0.0.1:9/own/base:1"),
    ],
)
async def test_an_image_that_can_not_be_had_is_named_with_what_helps(
    options: BuildKitOptions, order: MakeOrder, mode: BaseImages, image: str
) -> None:
    builder = BuildKitBuilder(replace(options, base_images=mode, registry_mirror="127.0.0.1:9/nothing"))
    with pytest.raises(BuildFailed, match=image) as caught:
        await builder.build(order(f"FROM {image}\nCMD true\n"), Lines())
    await builder.close()
    assert "FROM debian" in caught.value.hint


async def test_a_mirror_of_packages_that_does_not_answer_is_explained(
    options: BuildKitOptions, order: MakeOrder, tmp_path: Path
) -> None:
    network = replace(options.network, apt_mirror="http://127.0.0.1:9/debian")
    builder = BuildKitBuilder(replace(options, directory=tmp_path / "state", network=network))
    with pytest.raises(BuildFailed, match="could not be made from packages"):
        await builder.build(order("FROM debian:bullseye\nCMD true\n"), Lines())
    await builder.close()
    assert not list((tmp_path / "state" / "base-images").glob("*.tar"))
