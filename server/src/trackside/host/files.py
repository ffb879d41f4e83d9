"""Writes files so that a crash leaves the old text or the new, never half of one."""

import json
import os
from pathlib import Path
from typing import Any, cast

from trackside.host.errors import StateDamaged


def make_directory(path: Path, mode: int = 0o755) -> Path:
    """Have the directory with exactly this mode (whatever the umask); parents are made open to be passed through."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    return path


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace the file in one step; the mode holds from its first byte on, so a secret is never open for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, mode)
        file.write(text)
        file.flush()
        os.fsync(handle)
    beside.replace(path)


def write_json(path: Path, value: object, mode: int = 0o644) -> None:
    """Replace the file by the value as JSON."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n", mode)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file of ours, or None where there is no file. Errors: `StateDamaged`."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as damage:
        raise StateDamaged(f"{path} is damaged: {damage}.") from damage
    if not isinstance(value, dict):
        raise StateDamaged(f"{path} is damaged: it holds no JSON object.")
    return cast("dict[str, Any]", value)
