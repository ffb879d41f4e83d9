"""HAProxy's files: configuration, maps and pages, each replaced in one step and only when it differs."""

import contextlib
import os
from pathlib import Path

from trackside.adapters.proxy import config, snapshot
from trackside.adapters.proxy.options import HAProxyOptions
from trackside.rooms.networking.ports import Served


class ProxyFiles:
    """The files a cold start or a reload of HAProxy reads."""

    def __init__(self, options: HAProxyOptions) -> None:
        self._options = options
        self._written: dict[str, str] = {}

    def slots(self) -> int:
        """How many slots the configuration has, or is to have at least."""
        try:
            return max(self._options.slots, int(self._options.slots_file.read_text()))
        except (OSError, ValueError):
            return self._options.slots

    def is_open(self) -> bool:
        """Whether HAProxy is to listen for clients."""
        return self._options.opened.exists()

    def open(self) -> None:
        """Have it listen for clients from the next start or reload on. Errors: OSError."""
        self._options.opened.touch()
        self._written.clear()  # a launcher may have written others meanwhile

    def served(self) -> Served | None:
        """What was written last; None where there is nothing, or nothing readable (a machine lost its power)."""
        try:
            return snapshot.from_text(self._options.snapshot.read_text())
        except (OSError, ValueError):
            return None

    def write(self, served: Served, slots: int) -> None:
        """Make the files serve `served` in `slots` slots. Errors: OSError."""
        highest = max((backend.slot for backend in served.state.backends), default=-1)
        slots = max(slots, highest + 1)
        texts = {self._options.snapshot.name: snapshot.to_text(served), self._options.slots_file.name: str(slots)}
        for name, text in (texts | config.files(self._options, served, slots, is_open=self.is_open())).items():
            if self._written.get(name) != text:
                replace(self._options.directory / name, text)
                self._written[name] = text

    def prepare(self) -> None:
        """Have the directories. Errors: OSError."""
        for directory in (self._options.directory, self._options.run_directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self._options.maps, self._options.pages, self._options.directory / "empty"):
            directory.mkdir(exist_ok=True)


def replace(path: Path, text: str) -> None:
    """Replace a file in one step: who reads it sees the old text or the new one. Errors: OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
