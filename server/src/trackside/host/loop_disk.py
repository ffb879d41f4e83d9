"""A file system of fixed size in a sparse file, so that what writes to it can't fill the machine's disk."""

import os
from dataclasses import dataclass
from pathlib import Path

from trackside.host.commands import attempt, run
from trackside.host.errors import CommandFailed, LoopUnavailable
from trackside.host.files import make_directory

CANNOT_BE_MENDED = 4
"""e2fsck's status from which on it has left errors."""


@dataclass(frozen=True)
class LoopDisk:
    """The file, where it is mounted, and its size in bytes. Its content is a cache: a damaged or resized one is made anew."""

    file: Path
    mount_point: Path
    size: int

    def is_mounted(self) -> bool:
        return os.path.ismount(self.mount_point)

    async def attach(self) -> None:
        """Have it mounted. The kernel frees the loop device by itself at unmounting. Errors: `LoopUnavailable`.

        What was deleted in it is given back to the machine here, and not as it is deleted: that, and the cache of a cache, would
        cost the neighbours of a build their processor.
        """
        make_directory(self.mount_point, 0o711)
        if self.is_mounted():
            return
        if not await self._is_sound():
            await self._make()
        mounted = await attempt("mount", "-t", "ext4", "-o", "loop,noatime", self.file, self.mount_point)
        if mounted.status != 0:
            raise LoopUnavailable(f"The builds' disk could not be mounted: {mounted.complaint.strip()}")
        listed = await attempt("losetup", "--noheadings", "--output", "NAME", "--associated", self.file)
        for device in listed.output.split():
            await attempt("losetup", "--direct-io=on", device)  # not every file system can
        await attempt("fstrim", self.mount_point)

    async def detach(self) -> None:
        """Unmount it, with all that is mounted below. Errors: `CommandFailed` where something still uses it."""
        for mount in mounts_below(self.mount_point):
            if (await attempt("umount", mount)).status != 0:
                await run("umount", "--lazy", mount)

    async def _is_sound(self) -> bool:
        if not self.file.exists() or self.file.stat().st_size != self.size:
            return False
        return (await attempt("e2fsck", "-p", self.file, seconds=300)).status < CANNOT_BE_MENDED

    async def _make(self) -> None:
        self.file.unlink(missing_ok=True)
        with self.file.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.truncate(file.fileno(), self.size)
        try:
            await run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", self.file)
        except CommandFailed:
            self.file.unlink(missing_ok=True)
            raise


def mounts_below(directory: Path, table: Path = Path("/proc/self/mounts")) -> list[Path]:
    """Mount points at or below the directory, the innermost first."""
    found = [Path(_unescaped(line.split()[1])) for line in table.read_text().splitlines()]
    return [mount for mount in reversed(found) if mount == directory or mount.is_relative_to(directory)]


def _unescaped(path: str) -> str:
    """The kernel writes blanks and the like as octal."""
    return path.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\012", "\n").replace(r"\134", "\\")
