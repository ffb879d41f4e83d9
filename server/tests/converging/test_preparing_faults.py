"""What the machine refuses while an image is made: what no time mends ends the deployment, what it may mend is waited for and told."""

import io
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from errno import ECONNREFUSED, EIO, ENOENT
from pathlib import Path

import pytest

from converging.world import ADDRESSING, QUICK, SERVES, EngineRoom
from trackside.adapters.git.sources import check_directory
from trackside.adapters.memory.sources import MemoryRepository
from trackside.kit import events as stream
from trackside.kit.db import Transaction
from trackside.kit.ids import new_id
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.errors import ArchiveRefused, BuildFailed, EngineAway, EngineLost, SourceRefused
from trackside.rooms.builds.service import sub_directory
from trackside.rooms.deployments import service
from trackside.rooms.deployments.converge.preparing import (
    BuildKills,
    BuildWaits,
    SourceUnusable,
    is_of_the_world,
    lasting_fault,
)
from trackside.rooms.deployments.events import DeploymentHeldUp, DeploymentProgressed, DeploymentResumed
from trackside.rooms.deployments.model import Deployment, Explanation, Status
from trackside.rooms.deployments.service.explaining import explain_deployment
from trackside.rooms.projects.model import ServiceInstance

WENT_AWAY = "The build engine went away in the middle of the build."
NEARLY_TOO_LONG = "/".join(["d" * 200] * 20)[:4090]
"""A path that a system takes, but not below another directory."""


async def ask(
    room: EngineRoom, directory: str = "", path: str | None = None, steps: str = "", project: str = "shop"
) -> Deployment:
    """A deployment, as a slot of a builder has taken it, of a repository with a Dockerfile."""
    instance = await room.a_service(project=project)
    url = f"https://git.test/{new_id()}"
    room.sources.repositories[url] = repository = MemoryRepository()
    repository.commit({"Dockerfile": f"FROM scratch\n{steps}", "notes": ""})
    source = {"kind": "git", "url": url, "directory": directory}
    return await taken(room, instance, service.Asked(source, {**QUICK, "build": {"dockerfilePath": path}}))


async def taken(room: EngineRoom, instance: ServiceInstance, asked: service.Asked) -> Deployment:
    async with room.transaction() as tx:
        made = await service.request_deployment(tx, room.platform.actor, ADDRESSING, instance.id, asked)
        await stream.record(tx, DeploymentProgressed(made.id, str(Status.BUILDING)))
    return made


async def prepare(room: EngineRoom, made: Deployment) -> Deployment:
    await room.engine.prepare(room.platform.workspace_id, made.id)
    return await room.read(made.id)


async def told(room: EngineRoom, deployment: Deployment) -> list[str]:
    async with room.transaction() as tx:
        past = await service.history(tx, room.platform.actor, deployment.id)
    return [one.type for one in past if isinstance(one.event, DeploymentHeldUp | DeploymentResumed)]


@pytest.mark.parametrize("asked", [{"directory": NEARLY_TOO_LONG}, {"path": NEARLY_TOO_LONG}])
async def test_a_path_that_the_system_does_not_take_ends_the_deployment_with_the_reason(
    room: EngineRoom, asked: dict[str, str]
) -> None:
    failed = await prepare(room, await ask(room, **asked))
    assert (failed.status, failed.hint) == (Status.FAILED, SourceUnusable.hint)
    assert failed.reason == "The system refuses what the source or its build settings ask for: File name too long."


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"directory": "notes"}, "The repository has no directory `notes`."),
        ({"directory": "notes/sub"}, "The repository has no directory `notes/sub`."),
        ({"path": "notes/Dockerfile"}, "There is no Dockerfile at `notes/Dockerfile` in the source."),
    ],
)
async def test_a_file_where_a_directory_is_meant_ends_the_deployment_with_the_reason(
    room: EngineRoom, asked: dict[str, str], reason: str
) -> None:
    failed = await prepare(room, await ask(room, **asked))
    assert (failed.status, failed.reason) == (Status.FAILED, reason)


@pytest.mark.parametrize("check", [check_directory, sub_directory])
def test_a_directory_that_is_a_link_in_a_circle_is_refused(
    tmp_path: Path, check: Callable[[Path, str], object]
) -> None:
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(SourceRefused, match="in a circle"):
        check(tmp_path, "round")


@pytest.mark.parametrize("number", [EIO, ECONNREFUSED, ENOENT])
def test_what_time_may_mend_is_no_reason_to_fail(number: int) -> None:
    assert lasting_fault(OSError(number, os.strerror(number))) is None
    assert is_of_the_world(OSError(number, os.strerror(number)))
    assert lasting_fault(TimeoutError()) is None


async def test_a_build_that_the_machine_holds_up_says_so_and_is_done_when_the_cause_is_gone(room: EngineRoom) -> None:
    made = await ask(room)
    in_the_way = in_the_way_of(room, made)
    for _ in range(2):
        with pytest.raises(FileExistsError):
            await room.engine.prepare(room.platform.workspace_id, made.id)
    waiting = await room.read(made.id)
    assert (waiting.status, waiting.hint, waiting.code) == (Status.BUILDING, BuildWaits.hint, BuildWaits.code)
    assert waiting.reason == "The platform's machine does not let it be prepared: File exists."
    assert (await explain(room, made)).waits_for == waiting.reason
    in_the_way()
    image = (await prepare(room, made)).image
    assert image is not None
    room.runtime.behave(image.image_id, SERVES)
    await room.converge(made.service_instance_id)
    served = await room.read(made.id)
    assert (served.status, served.reason, served.code) == (Status.SUCCESS, None, None)
    assert await told(room, made) == ["DeploymentHeldUp", "DeploymentResumed"]


async def test_an_image_that_nobody_is_there_to_be_asked_for_is_waited_for(room: EngineRoom) -> None:
    made = await room.deploy((await room.a_service()).id, "app:1")
    room.images.is_away = True
    with pytest.raises(EngineAway):
        await room.engine.prepare(room.platform.workspace_id, made.id)
    waiting = await room.read(made.id)
    assert waiting.ended_at is None
    assert (waiting.reason, waiting.code) == (
        "The container engine can't be asked for the image `app:1`.",
        "builds.engine_away",
    )
    room.images.is_away = False
    await room.run_jobs(made)
    assert (await room.read(made.id)).status is Status.SUCCESS


async def lose_engine_twice(room: EngineRoom, made: Deployment) -> None:
    for _ in range(2):
        with pytest.raises(EngineLost):
            await room.engine.prepare(room.platform.workspace_id, made.id)


async def test_a_build_that_loses_its_engine_begins_anew(room: EngineRoom) -> None:
    made = await ask(room)
    room.builder.deaths = 2
    await lose_engine_twice(room, made)
    assert (await room.read(made.id)).code == EngineLost.code
    assert (await prepare(room, made)).status is Status.DEPLOYING


async def test_a_build_that_kills_its_engine_again_and_again_is_ended(room: EngineRoom) -> None:
    made = await ask(room)
    room.builder.deaths = 5
    await lose_engine_twice(room, made)
    failed = await prepare(room, made)
    assert (failed.status, failed.code) == (Status.FAILED, BuildKills.code)
    assert failed.reason == f"{WENT_AWAY} That was the third time."
    assert room.builder.deaths == 2, "others want to build too"


async def explain(room: EngineRoom, made: Deployment) -> Explanation:
    async with room.transaction() as tx:
        return await explain_deployment(tx, room.platform.actor, made.id)


def in_the_way_of(room: EngineRoom, made: Deployment) -> Callable[[], None]:
    """A file where the source is to be laid out; what is returned takes it away."""
    place = room.trees / made.id.hex
    place.parent.mkdir(exist_ok=True)
    place.touch()
    return place.unlink


async def test_a_build_that_goes_on_says_no_longer_that_it_waits(room: EngineRoom) -> None:
    """It takes as long as a try must go on for that."""
    made = await ask(room, steps="RUN sleep 4")
    async with room.transaction() as tx:
        await hold_up_by(tx, made)
    assert (await prepare(room, made)).status is Status.DEPLOYING
    async with room.transaction() as tx:
        past = [one.type for one in await service.history(tx, room.platform.actor, made.id)]
    assert past.index("DeploymentResumed") < past.index("ImageReady")


async def hold_up_by(tx: Transaction, made: Deployment) -> None:
    await stream.record(tx, DeploymentHeldUp(made.id, "The machine is ill.", "Wait."))


async def test_a_refused_archive_s_code_is_kept_with_the_reason_and_told_by_the_explanation(room: EngineRoom) -> None:
    made = await upload(room, a_link("escape", "../../etc/passwd"))
    failed, explanation = await prepare(room, made), await explain(room, made)
    assert (failed.status, failed.code) == (Status.FAILED, ArchiveRefused.code)
    assert failed.reason == "The archive has a link that leads out of it: `escape`."
    assert (explanation.code, explanation.hint) == (ArchiveRefused.code, ArchiveRefused.hint)
    other = await ask(room, steps="RUN exit 3", project="other")
    assert (await prepare(room, other)).code == BuildFailed.code


def a_link(name: str, target: str) -> bytes:
    """A tar with nothing but a symbolic link."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(entry)
        return file.getvalue()


async def upload(room: EngineRoom, content: bytes) -> Deployment:
    """A deployment of an uploaded archive, as a slot of a builder has taken it."""

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    instance, world = await room.a_service(), room.platform
    kept = await builds.receive_upload(world.database, world.actor, room.uploads, instance.id, chunks())
    asked = service.Asked({"kind": "upload", "upload_id": str(kept.id), "sha256": kept.sha256}, QUICK)
    return await taken(room, instance, asked)
