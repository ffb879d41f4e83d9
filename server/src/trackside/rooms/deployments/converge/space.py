"""Refuses what would fill a low disk: nothing is built or pulled until there is room again; what runs goes on.

Garbage is collected first. A deployment of an image that is there already (rollback, restart, scale) needs no room.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from trackside.kit.errors import TracksideError
from trackside.rooms.builds.errors import LowDisk
from trackside.rooms.builds.model import DiskSpace, LeastSpace
from trackside.rooms.builds.ports import Disks

log = structlog.get_logger()
PAUSE = 30.0
"""Seconds after a collection in which another would find nothing: many deployments may ask at once."""


class SpaceGuard:
    """`make_room` collects garbage (`True`: also all that builds could make anew)."""

    def __init__(self, disks: Disks, least: LeastSpace, make_room: Callable[[bool], Awaitable[object]]) -> None:
        self._disks = disks
        self._least = least
        self._make_room = make_room
        self._one_at_a_time = asyncio.Lock()
        self._tried_at: float | None = None

    async def check(self, *, is_build: bool) -> None:
        """Errors: `LowDisk`, where collecting garbage has not helped."""
        low = await self._low(is_build)
        if low is None:
            return
        async with self._one_at_a_time:
            await self._collect(is_build)
        if low := await self._low(is_build):
            raise LowDisk(self._least.sentence(low))

    async def _low(self, is_build: bool) -> DiskSpace | None:
        spaces = [space for space in await self._disks.measure() if is_build or not space.is_for_builds]
        return next((space for space in spaces if self._least.is_low(space)), None)

    async def _collect(self, is_build: bool) -> None:
        now = asyncio.get_running_loop().time()
        if self._tried_at is not None and now < self._tried_at + PAUSE:
            return
        self._tried_at = now
        try:
            await self._make_room(is_build)
        except TracksideError as trouble:
            log.warning("no room can be made on a low disk", error=trouble.sentence)
