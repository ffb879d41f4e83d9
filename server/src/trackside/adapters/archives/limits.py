"""What an archive may hold, and the judgement of each entry before it is written. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from trackside.rooms.builds.errors import ArchiveRefused


@dataclass(frozen=True)
class ArchiveLimits:
    """Sizes in bytes. `ratio` (unpacked to packed) counts only beyond `free_bytes`: small archives may pack very well.

    `name_bytes` is what file systems take between two slashes. `entry_index_bytes` is what a tar may say of one entry before its
    content, `index_bytes` what a zip may say of all: they are held in memory.
    """

    bytes: int = 4 << 30
    entries: int = 200_000
    ratio: float = 200.0
    free_bytes: int = 64 << 20
    path_bytes: int = 2048
    name_bytes: int = 255
    entry_index_bytes: int = 256 << 10
    index_bytes: int = 64 << 20


LEAVE_OUT = "Leave out what the build does not need, by lines in .tracksideignore."
RENAME = "Rename it, or leave it out by a line in .tracksideignore."


class Stopped(Exception):
    """Nobody waits for the archive any longer."""


class Meter:
    """Counts what comes out of one archive and refuses it when it grows beyond the limits, or is no longer wanted."""

    def __init__(self, limits: ArchiveLimits, packed_bytes: int, is_stopped: Callable[[], bool] = bool) -> None:
        self._limits = limits
        self._is_stopped = is_stopped
        self._packed = max(packed_bytes, 1)
        self._entries = 0
        self._bytes = 0

    def look(self) -> None:
        """Errors: `Stopped`."""
        if self._is_stopped():
            raise Stopped

    def count_entry(self, name: str) -> None:
        self.look()
        self._entries += 1
        if self._entries > self._limits.entries:
            raise ArchiveRefused(
                f"The archive has more than {self._limits.entries} entries (refused at `{shown(name)}`).",
                hint=LEAVE_OUT,
            )

    def count_bytes(self, name: str, size: int) -> None:
        self.look()
        self._bytes += size
        if self._bytes > self._limits.bytes:
            limit = self._limits.bytes / (1 << 20)
            sentence = f"The archive unpacks to more than {limit:.0f} MiB (refused at `{shown(name)}`)."
            raise ArchiveRefused(sentence, hint=LEAVE_OUT)
        if self._bytes > self._limits.free_bytes and self._bytes > self._packed * self._limits.ratio:
            raise ArchiveRefused(
                f"The archive unpacks to more than {self._limits.ratio:g} times its size (refused at `{shown(name)}`).",
                hint=LEAVE_OUT,
            )


def safe_path(name: str, limits: ArchiveLimits) -> PurePosixPath:
    """The entry's path within the tree. Refuses absolute paths, `..`, and names that no file could have."""
    check_text(name, limits)
    path = PurePosixPath(name)
    if path.is_absolute() or name.startswith("\\") or (len(name) > 1 and name[1] == ":" and name[2:3] == "\\"):
        raise ArchiveRefused(f"The archive has an absolute path: `{shown(name)}`.")
    if ".." in path.parts:
        raise ArchiveRefused(f"The archive has a path that leads out of it: `{shown(name)}`.")
    if any(len(part.encode()) > limits.name_bytes for part in path.parts):
        raise ArchiveRefused(f"The archive has a name that is too long: `{shown(name)}`.", hint=RENAME)
    return path


def check_text(name: str, limits: ArchiveLimits) -> None:
    """Refuse what is no UTF-8, has control characters, or is too long for a path or for where a link leads to."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise ArchiveRefused(f"The archive has a path that is not UTF-8: `{shown(name)}`.", hint=RENAME) from error
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ArchiveRefused(f"The archive has a path with control characters: `{shown(name)}`.", hint=RENAME)
    if length > limits.path_bytes:
        raise ArchiveRefused(f"The archive has a path that is too long: `{shown(name)}`.", hint=RENAME)


def shown(name: str) -> str:
    """A name as it may be printed: no control characters, not endless."""
    text = "".join(character if character.isprintable() else "?" for character in name)
    return text if len(text) <= 120 else f"{text[:117]}…"
