"""Writing entries of an archive into a fresh directory, never through a link, never outside."""

import os
from pathlib import Path, PurePosixPath
from typing import IO

from trackside.adapters.archives.limits import Meter, shown
from trackside.rooms.builds.errors import ArchiveRefused

_CHUNK = 1 << 20
_EXECUTABLE = 0o111


class TreeWriter:
    """Writes files, directories and links under `root`, each once: of two entries of one name nobody could say which is meant."""

    def __init__(self, root: Path, meter: Meter) -> None:
        self._root = root
        self._meter = meter
        self._links: list[Path] = []

    def directory(self, path: PurePosixPath) -> None:
        self._parent(path / "_")

    def file(self, path: PurePosixPath, content: IO[bytes], mode: int) -> None:
        """Modes are reduced to 0644 and 0755: no set-user-id bits, nothing that its owner can't read."""
        target = self._place(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(target, flags, 0o755 if mode & _EXECUTABLE else 0o644)
        with os.fdopen(descriptor, "wb") as file:
            while chunk := content.read(_CHUNK):
                self._meter.count_bytes(str(path), len(chunk))
                file.write(chunk)

    def symbolic_link(self, path: PurePosixPath, target: str) -> None:
        """The link as it is; whether it leads out is judged by `check_links` when everything is there."""
        if not target or target.startswith("/"):
            raise ArchiveRefused(f"The archive has a link that leads out of it: `{shown(str(path))}`.")
        place = self._place(path)
        os.symlink(target, place)
        self._links.append(place)

    def hard_link(self, path: PurePosixPath, target: PurePosixPath) -> None:
        try:
            source = self._parent(target) / target.name
        except ArchiveRefused as error:
            raise ArchiveRefused(f"The archive has a link that leads through another: `{shown(str(path))}`.") from error
        if source.is_symlink() or not source.is_file():
            raise ArchiveRefused(f"The archive has a link to what is no file in it: `{shown(str(path))}`.")
        with source.open("rb") as content:
            self.file(path, content, source.stat().st_mode)

    def check_links(self) -> None:
        """Refuse a symbolic link whose end lies outside of the tree, whatever links it passes through."""
        root = self._root.resolve()
        for link in self._links:
            self._meter.look()
            if not link.is_symlink():
                continue
            try:
                end = link.resolve()
            except (OSError, RuntimeError) as error:
                raise ArchiveRefused(f"The archive has a link that leads in a circle: `{self._name(link)}`.") from error
            if not end.is_relative_to(root):
                raise ArchiveRefused(f"The archive has a link that leads out of it: `{self._name(link)}`.")

    def _name(self, path: Path) -> str:
        return shown(path.relative_to(self._root).as_posix())

    def _place(self, path: PurePosixPath) -> Path:
        """Where an entry goes, with nothing there yet."""
        if not path.name:
            raise ArchiveRefused("The archive has an entry without a name.")
        place = self._parent(path) / path.name
        if place.is_symlink() or place.is_file():
            raise ArchiveRefused(f"The archive has `{shown(str(path))}` twice.")
        if place.is_dir():
            raise ArchiveRefused(f"The archive has `{shown(str(path))}` both as a directory and as something else.")
        return place

    def _parent(self, path: PurePosixPath) -> Path:
        """The directory of an entry, made where missing; no part of it is a link."""
        at = self._root
        for part in path.parent.parts:
            at = at / part
            if at.is_symlink():
                raise ArchiveRefused(f"The archive writes through a link: `{shown(str(path))}`.")
            try:
                at.mkdir(exist_ok=True)
            except FileExistsError as error:
                raise ArchiveRefused(
                    f"The archive has `{self._name(at)}` both as a file and as a directory."
                ) from error
        return at
