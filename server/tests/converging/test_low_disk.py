"""A low disk refuses what would fill it, with a reason; what runs goes on, and the refusal ends by itself."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError

from converging.world import ADDRESSING, EngineRoom
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.kit import events as stream
from trackside.kit.clock import SystemClock
from trackside.kit.db import Database
from trackside.kit.ids import new_id
from trackside.kit.leases import open_leases
from trackside.rooms.builds.errors import BuildFailed, LowDisk
from trackside.rooms.builds.model import BuildOrder, DiskSpace, Image, LeastSpace
from trackside.rooms.deployments import service
from trackside.rooms.deployments.converge.space import SpaceGuard
from trackside.rooms.deployments.events import DeploymentProgressed
from trackside.rooms.deployments.model import Status
from trackside.rooms.telemetry.model import Line, LogKind, Stream
from trackside.rooms.telemetry.service import collect_garbage

FULL = DiskSpace("the apps' engine", "/none", 100 << 20, 100 << 30)
ROOMY = DiskSpace("the apps' engine", "/none", 50 << 30, 100 << 30)
BUILDS_FULL = DiskSpace("the build engine", "/none", 1 << 20, 20 << 30, is_for_builds=True)


async def test_a_deployment_on_a_low_disk_fails_with_the_disk_what_is_free_what_is_needed_and_what_helps(
    room: EngineRoom,
) -> None:
    instance = await room.a_service()
    served = await room.serve(instance.id, "app:1")
    room.disks.spaces = (FULL,)
    refused = await room.serve(instance.id, "app:2")
    assert refused.status is Status.FAILED
    assert refused.reason == "The disk of the apps' engine is low: 100 MiB are free, 2048 MiB are needed."
    assert "admin collect" in (refused.hint or "")
    assert (await room.read(served.id)).status is Status.SUCCESS
    assert [seen.deployment_id for seen in await room.seen(instance.id)] == [served.id]
    room.disks.spaces = (ROOMY,)
    assert (await room.serve(instance.id, "app:3")).status is Status.SUCCESS


async def test_restart_scale_and_rollback_to_a_kept_image_go_on_with_a_low_disk(room: EngineRoom) -> None:
    instance = await room.a_service()
    first = await room.serve(instance.id, "app:1")
    await room.serve(instance.id, "app:2")
    room.disks.spaces = (FULL,)
    actor = room.platform.actor
    async with room.transaction() as tx:
        back = await service.roll_back(tx, actor, ADDRESSING, first.id)
    await room.converge(instance.id)
    async with room.transaction() as tx:
        again = await service.restart(tx, actor, ADDRESSING, instance.id)
    await room.converge(instance.id)
    async with room.transaction() as tx:
        await service.scale(tx, actor, instance.id, 3)
    await room.converge(instance.id)
    assert (await room.read(back.id)).status is Status.REMOVED
    assert (await room.read(again.id)).status is Status.SUCCESS
    assert len(await room.seen(instance.id)) == 3


async def test_a_low_disk_of_builds_is_no_reason_not_to_pull(room: EngineRoom) -> None:
    room.disks.spaces = (ROOMY, BUILDS_FULL)
    assert (await room.serve((await room.a_service()).id, "app:1")).status is Status.SUCCESS


async def test_garbage_is_collected_before_anything_is_refused(room: EngineRoom) -> None:
    garbage = Image("sha256:" + "5e" * 32, size_bytes=7)
    room.images.add(garbage)
    room.disks.spaces = (FULL,)
    assert (await room.serve((await room.a_service()).id, "app:1")).status is Status.FAILED
    assert await room.images.inspect(garbage.id) is None


async def test_logs_are_collected_at_once_on_a_low_disk_also_where_the_engine_is_away(room: EngineRoom) -> None:
    nobodys = Stream(room.platform.workspace_id, LogKind.BUILD, new_id())
    await room.log_store.append(nobodys, [Line(datetime.now(UTC), "of a deployment that was deleted")])
    made = await room.deploy((await room.a_service()).id, "app:1")
    room.disks.spaces = (FULL,)
    room.runtime.go_down()
    await room.engine.prepare(room.platform.workspace_id, made.id)
    assert (await room.read(made.id)).hint == LowDisk.hint
    assert nobodys not in await room.log_store.streams(room.platform.workspace_id)


async def test_logs_that_are_too_old_go_though_a_full_disk_has_stopped_the_database() -> None:
    store, log = MemoryLogStore(keep_days=1), Stream(new_id(), LogKind.BUILD, new_id())
    await store.append(log, [Line(datetime(2020, 1, 1, tzinfo=UTC), "old")])
    with pytest.raises(OperationalError):
        await collect_garbage(Database("postgresql://nobody@127.0.0.1:1/none", SystemClock()), store)
    assert await store.read(log) == []


@pytest.mark.parametrize("is_beside", [True, False])
async def test_room_for_a_build_is_not_made_of_what_another_slot_has_built_and_not_moved_yet(
    room: EngineRoom, tmp_path: Path, is_beside: bool
) -> None:
    ids = new_id(), room.platform.workspace_id, new_id()
    image_id = await room.builder.build(BuildOrder(*ids, tmp_path, "FROM scratch", is_planned=False), unheard)
    if is_beside:
        beside = await room.ask_for_build((await room.a_service(project="beside")).id)
        async with room.transaction() as tx:
            await stream.record(tx, DeploymentProgressed(beside.id, str(Status.BUILDING)))
    room.disks.spaces = (BUILDS_FULL,)
    made = await room.ask_for_build((await room.a_service()).id)
    async with open_leases(room.platform.database.url) as leases:
        is_at_it = {beside.id} if is_beside else set[UUID]()
        claim = await room.engine.queue.claim(leases, is_at_it.__contains__)
        assert claim is not None
        assert claim.deployment_id == made.id
        await room.engine.prepare(claim.workspace_id, claim.deployment_id)
    assert (await room.read(made.id)).hint == LowDisk.hint
    if is_beside:
        assert (await room.builder.publish(image_id, {}, unheard)).id == image_id
    else:
        with pytest.raises(BuildFailed, match="no longer on the build engine"):
            await room.builder.publish(image_id, {}, unheard)


async def unheard(line: str) -> None:
    """Nobody reads this log."""


class Counting:
    """Disks that stay as they are, and how often room was to be made."""

    def __init__(self, *spaces: DiskSpace) -> None:
        self.spaces = spaces
        self.calls: list[bool] = []

    async def measure(self) -> tuple[DiskSpace, ...]:
        return self.spaces

    async def make_room(self, is_build: bool) -> None:
        self.calls.append(is_build)

    async def succeed(self, is_build: bool) -> None:
        await self.make_room(is_build)
        self.spaces = (ROOMY,)


async def test_many_that_ask_at_once_collect_once() -> None:
    disks = Counting(FULL)
    guard = SpaceGuard(disks, LeastSpace(), disks.make_room)
    outcomes = await asyncio.gather(*(guard.check(is_build=False) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(outcome, LowDisk) for outcome in outcomes)
    assert disks.calls == [False]


async def test_what_has_room_once_garbage_is_collected_is_not_refused() -> None:
    disks = Counting(FULL)
    await SpaceGuard(disks, LeastSpace(), disks.succeed).check(is_build=True)
    assert disks.calls == [True]


async def test_a_build_needs_room_on_the_builds_disk_too() -> None:
    disks = Counting(ROOMY, BUILDS_FULL)
    guard = SpaceGuard(disks, LeastSpace(), disks.make_room)
    await guard.check(is_build=False)
    with pytest.raises(LowDisk, match="the build engine is low: 1 MiB are free, 1024 MiB are needed"):
        await guard.check(is_build=True)
    assert disks.calls == [True]


@pytest.mark.parametrize(
    ("free", "total", "is_low"),
    [(3 << 30, 1 << 40, False), (1 << 30, 1 << 40, True), (60 << 20, 1 << 30, False), (40 << 20, 1 << 30, True)],
)
def test_a_large_disk_is_low_by_bytes_and_a_small_one_by_its_part(free: int, total: int, is_low: bool) -> None:
    assert LeastSpace().is_low(DiskSpace("x", "/x", free, total)) is is_low
