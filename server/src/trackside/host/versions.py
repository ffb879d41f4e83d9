"""The versions of the platform on this machine: which one runs it, which are kept beside it.

A version is a directory with its own Python and packages: the checkout's `.venv`, or one that an upgrade prepared (it holds
`version.json`, written last). The link `current` in the state directory names the one that runs the platform.
"""

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trackside.host.files import write_json
from trackside.host.layout import Layout
from trackside.host.process_table import all_processes

MARK = "version.json"


@dataclass(frozen=True)
class Version:
    """One version: its number, and where it lies."""

    number: str
    directory: Path

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"


def own_version() -> Version:
    """The version this process runs."""
    return version_in(Path(sys.prefix).resolve())


def version_in(directory: Path) -> Version:
    """The version in a directory; its number is empty where there is none."""
    found = sorted(directory.glob("lib/python*/site-packages/trackside-*.dist-info"))
    return Version(found[0].name.removesuffix(".dist-info").partition("-")[2] if found else "", directory)


def current_version(layout: Layout) -> Version:
    """The version that runs the platform; before the first start, this process's own."""
    return version_in(layout.current.resolve()) if layout.current.exists() else own_version()


def ensure_current(layout: Layout) -> None:
    """Have a current version: one that an upgrade chose stays, else it is that of whoever starts the platform."""
    if not is_prepared(layout.current):
        make_current(layout, own_version())


def make_current(layout: Layout, version: Version) -> None:
    """Have this version run the platform from now on; in one step."""
    beside = layout.current.with_name(f".{layout.current.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(version.directory)
    beside.replace(layout.current)


def is_prepared(directory: Path) -> bool:
    """Whether an upgrade prepared a version here, to its end."""
    return (directory / MARK).exists()


def mark_prepared(version: Version, source: Path) -> None:
    """Say that the version is complete, and what it was made from."""
    write_json(version.directory / MARK, {"number": version.number, "source": str(source)})


def prepared_versions(layout: Layout) -> list[Version]:
    """Those that upgrades prepared, in the order of their directories' names."""
    return [version_in(found.parent) for found in sorted(layout.versions.glob(f"*/{MARK}"))]


def remove_unused(layout: Layout, keep: Iterable[Version]) -> list[Path]:
    """Remove prepared versions, and what was left of unfinished ones, but for `keep` and what a process or a launch still uses.

    Those that could not be removed. Errors: `OSError` where nobody can tell what is used.
    """
    files = (*layout.run.glob("*.json"), *layout.launches.glob("*.json"))
    texts = [*(process.command for process in all_processes()), *(file.read_text(encoding="utf-8") for file in files)]
    kept = {version.directory for version in keep}
    present = list(layout.versions.resolve().iterdir()) if layout.versions.exists() else []
    unused = [one for one in present if one not in kept and not any(f"{one}/" in text for text in texts)]
    for directory in unused:
        shutil.rmtree(directory, ignore_errors=True)
    return [directory for directory in unused if directory.exists()]
