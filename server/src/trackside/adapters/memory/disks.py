"""Disks in memory: the port `Disks`, for tests and for a platform without a machine of its own."""

from collections.abc import Sequence

from trackside.rooms.builds.model import DiskSpace


class MemoryDisks:
    """`spaces` is what is measured; set it to fill or empty a disk."""

    def __init__(self, *spaces: DiskSpace) -> None:
        self.spaces = spaces

    async def measure(self) -> Sequence[DiskSpace]:
        return self.spaces
