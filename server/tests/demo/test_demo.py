"""`make demo` and `make stop` in a fresh clone: the printed URL answers, and afterwards the machine is as it was.

Run apart from all other tests, for the whole machine is compared.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.conftest import CHECKOUT, free_port
from trackside.host.inspect import Snapshot, take_snapshot

COLD_SECONDS, WARM_SECONDS = 300, 30


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `git clone` gives of the present state, uncommitted changes apart."""
    root = Path("/var/tmp") / f"ts-demo-{os.getpid()}"
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(root)], check=True)
    yield root
    subprocess.run(["make", "stop"], cwd=root, check=False, capture_output=True)
    settings = root / ".trackside" / "settings.json"
    if settings.exists():
        installation = json.loads(settings.read_text())["installation"]
        shutil.rmtree(Path("/var/lib/trackside") / installation, ignore_errors=True)
    shutil.rmtree(root)


def make(clone: Path, target: str, ports: dict[str, str]) -> tuple[str, float]:
    """Run a recipe as a user would; its output and how long it took."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRACKSIDE_")} | ports
    began = time.monotonic()
    outcome = subprocess.run(
        ["make", target],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=900,
    )
    assert outcome.returncode == 0, f"make {target}:\n{outcome.stdout[-4000:]}\n{outcome.stderr[-2000:]}"
    return outcome.stdout, time.monotonic() - began


def answer(output: str) -> httpx.Response:
    """What the printed URL answers; the name resolves to this machine, as in every browser."""
    printed = re.search(r"The app\s+http://(\S+):(\d+)", output)
    assert printed, output
    host, port = printed.groups()
    return httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": f"{host}:{port}"}, timeout=30, trust_env=False)


def of_the_machine(snapshot: Snapshot, clone: Path) -> Snapshot:
    """The whole machine but for processes, of which only ours count: others come and go by themselves."""
    things = dict(snapshot.things)
    things["processes"] = snapshot.naming(str(clone)).things["processes"]
    return Snapshot(things)


@pytest.mark.timeout(1800)
def test_a_fresh_clone_comes_up_serves_stops_without_a_trace_and_serves_again(clone: Path) -> None:
    ports = {"TRACKSIDE_API_PORT": str(free_port()), "TRACKSIDE_EDGE_PORT": str(free_port())}
    make(clone, "setup", ports)
    before = of_the_machine(asyncio.run(take_snapshot()), clone)
    output, cold = make(clone, "demo", ports)
    assert answer(output).status_code == 200
    for word in ("The API", "Sign in", "From another computer", "Stop"):
        assert word in output
    assert f"from the git repository {clone}" in output
    again, warm = make(clone, "demo", ports)
    assert "deployed already" in again
    make(clone, "stop", ports)
    after = of_the_machine(asyncio.run(take_snapshot()), clone)
    assert after.added_since(before) == {}
    assert after.lost_since(before) == {}
    back, restarted = make(clone, "demo", ports)
    assert "deployed already" in back
    assert answer(back).status_code == 200
    make(clone, "stop", ports)
    print(f"make demo: {cold:.0f} s after set-up, {warm:.1f} s when running, {restarted:.1f} s after a stop")
    assert cold < COLD_SECONDS
    assert warm < WARM_SECONDS
    assert restarted < WARM_SECONDS
