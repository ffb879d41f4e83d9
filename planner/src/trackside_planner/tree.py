"""A read-only view of a source tree: all that detection may ask of the world.

Two implementations: a dictionary (tests, uploads that are not on disk) and a directory. Neither follows a symbolic link
out of the tree, so that a repository cannot make the planner read the machine it runs on.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

MOST_FILES = 20_000
"""Files a listing looks at before it stops; detection needs the top of a tree, not all of it."""
LARGEST_TEXT = 4 << 20
"""Bytes of a file that are read as text; lock files are the largest that detection reads."""
SKIPPED_DIRECTORIES = frozenset(
    {".git", ".hg", ".svn", "node_modules", ".venv", "venv", "__pycache__", ".tox", ".mypy_cache"}
)


class Tree(Protocol):
    """Paths are relative to the tree's root, with `/` between parts."""

    def files(self) -> tuple[str, ...]:
        """Every regular file, sorted, at most `MOST_FILES`; directories of tools (`node_modules`, …) are left out."""
        ...

    def text(self, path: str) -> str | None:
        """The file's text (undecodable bytes replaced), or None where there is no such regular file in the tree."""
        ...


class MemoryTree:
    """A tree held in a dictionary from path to text."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = dict(files)

    def files(self) -> tuple[str, ...]:
        return tuple(sorted(self._files))

    def text(self, path: str) -> str | None:
        return self._files.get(path)


class DirectoryTree:
    """A tree on disk."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._listing: tuple[str, ...] | None = None

    def files(self) -> tuple[str, ...]:
        if self._listing is None:
            self._listing = tuple(sorted(self._walk()))
        return self._listing

    def text(self, path: str) -> str | None:
        try:
            found = (self._root / path).resolve()
        except RuntimeError:  # links in a circle lead to no file
            return None
        if not found.is_relative_to(self._root) or not found.is_file():
            return None
        with found.open("rb") as file:
            return file.read(LARGEST_TEXT).decode("utf-8", "replace")

    def _walk(self) -> Iterator[str]:
        left = MOST_FILES
        for directory, names, files in os.walk(self._root):
            names[:] = sorted(name for name in names if name not in SKIPPED_DIRECTORIES)
            for name in sorted(files):
                if left == 0:
                    return
                left -= 1
                yield (Path(directory) / name).relative_to(self._root).as_posix()
