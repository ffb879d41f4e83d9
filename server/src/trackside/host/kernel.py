"""Kernel settings that we change: the former value is kept and put back when the last installation that needs it stops."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackside.host.files import read_json, write_json


@dataclass(frozen=True)
class KernelSettings:
    """Settings under `/proc/sys`, shared by the installations of a machine.

    The note of former values lies in /run, for a boot resets note and settings alike.
    """

    notes: Path = Path("/run/trackside-kernel")
    root: Path = Path("/proc/sys")

    def need(self, name: str, value: str, installation: str) -> bool:
        """Have the setting at this value while the installation runs. True where it was different before any of ours came."""
        with self._notes() as notes:
            note = notes.setdefault(name, {"former": self.read(name), "users": []})
            if installation not in note["users"]:
                note["users"].append(installation)
            if self.read(name) != value:
                self._file(name).write_text(value)
            return bool(note["former"] != value)

    def release(self, installation: str, *, keep: bool = False) -> None:
        """Give up what the installation needed; the last one puts the former value back (unless `keep`: others rely on it)."""
        if not self.notes.exists():
            return
        with self._notes() as notes:
            for name, note in list(notes.items()):
                note["users"] = [user for user in note["users"] if user != installation]
                if not note["users"]:
                    if not keep and self.read(name) != note["former"]:
                        self._file(name).write_text(note["former"])
                    del notes[name]

    def read(self, name: str) -> str:
        return self._file(name).read_text().strip()

    def _file(self, name: str) -> Path:
        return self.root / name.replace(".", "/")

    @contextmanager
    def _notes(self) -> Generator[dict[str, Any]]:
        self.notes.mkdir(mode=0o700, exist_ok=True)
        notes_file = self.notes / "former.json"
        with (self.notes / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            notes = read_json(notes_file) or {}
            yield notes
            if notes:
                write_json(notes_file, notes, 0o600)
            else:
                notes_file.unlink(missing_ok=True)
                (self.notes / "lock").unlink(missing_ok=True)
                self.notes.rmdir()
