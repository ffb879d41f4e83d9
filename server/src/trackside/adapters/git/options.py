"""What the git adapter is told when it is made: plain values, read from the settings by bootstrap."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GitOptions:
    """`directory` is private to fetches (keys of running ones). Sizes in bytes, times in seconds.

    `seconds`, `bytes`, `submodules` and `lfs_bytes` are for a repository with all its submodules together.
    """

    directory: Path
    file_roots: tuple[Path, ...] = ()
    closed: tuple[Path, ...] = ()  # never fetched from, though below a root: the platform's own state
    allow_private: bool = False
    ca_bundle: Path | None = None
    seconds: float = 600
    bytes: int = 4 << 30
    submodules: int = 100
    submodule_depth: int = 8
    lfs_bytes: int = 2 << 30
