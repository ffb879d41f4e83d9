"""A gigabyte in ten thousand files goes up, is unpacked and built, and no process holds more than a piece of it."""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.conftest import CHECKOUT, Trackside, until

FILES = 10_000
SIZE = 100_000
MORE = 128 << 20
"""How much memory a process may take for it, in bytes."""


def peak(pid: int) -> int:
    """The most memory that the process has held, in bytes; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_gigabyte_in_ten_thousand_files_is_held_in_memory_by_nobody(trackside: Trackside, tmp_path: Path) -> None:
    for number in range(FILES):
        path = tmp_path / "app" / "data" / f"d{number % 100}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(SIZE))
    (tmp_path / "app" / "Dockerfile").write_text(
        'FROM debian:bookworm-slim\nRUN echo built\nCMD ["sleep", "infinity"]\n'
    )
    (tmp_path / "app" / ".dockerignore").write_text("data\n")
    watched = {name: trackside.pids[name] for name in ("gateway", "builder")}
    for pid in watched.values():
        forget_peak(pid)
    before = {name: peak(pid) for name, pid in watched.items()}
    command = [str(CHECKOUT / "bin" / "trackside"), "up", str(tmp_path / "app"), "--detach", "--project", "large"]
    with subprocess.Popen([*command, "--service", "web"], env=trackside.cli.environment) as uploading:
        packing = 0
        while uploading.poll() is None:
            packing = max(packing, peak(uploading.pid))
    assert uploading.returncode == 0
    scope = ("--project", "large", "--service", "web")
    until(lambda: trackside.cli.json("deployments", *scope)[0]["image_id"], 900, "it is built")
    took = {name: peak(pid) - before[name] for name, pid in watched.items()}
    print(
        f"memory for a gigabyte: command line {packing >> 20} MiB in all, { ({n: m >> 20 for n, m in took.items()}) } MiB more"
    )
    trackside.cli.run("project", "delete", "large", "--yes")
    assert packing < MORE
    assert all(more < MORE for more in took.values()), took
