"""What is built when the build engine is killed: it is built by the next one, and nobody deploys again."""

import asyncio
from pathlib import Path

import pytest

from builds.git_servers import processes_with
from e2e.conftest import until
from survival.truth import assert_true
from survival.world import World, archive

MARK = "9.125"
DOCKERFILE = f"""
FROM debian:bookworm-slim
RUN sleep {MARK}
USER 1000
CMD ["sleep", "infinity"]
"""


def is_running() -> bool:
    return bool(processes_with(f"sleep\0{MARK}"))


@pytest.mark.timeout(400)
async def test_a_build_whose_engine_is_killed_in_a_step_begins_anew_and_is_deployed(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    service = await asyncio.to_thread(world.service)

    def build() -> None:
        service.deploy(service.upload(archive(tmp_path)))
        until(is_running, 90, lambda: service.newest)
        world.kill("build-engine")
        until(lambda: service.newest["status"] == "SUCCESS", 120, lambda: service.newest)

    await asyncio.to_thread(build)
    built = [step["name"] for step in service.newest["steps"]].count("BUILD_IMAGE")
    assert built == 1, "one step, begun again"
    await asyncio.to_thread(service.delete)
    await asyncio.to_thread(assert_true, world)
