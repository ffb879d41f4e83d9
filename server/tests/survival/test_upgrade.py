"""`trackside server upgrade` on a real platform under load: onto versions with new migrations, and back from broken ones."""

import asyncio
import io
import json
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Cli, Service, Trackside, running_platform, until
from trackside.host.upgrade_plan import STEPS
from trackside.kit.failpoints import ARMED, HALTED, MOMENTS

from .editions import CHECKOUT, Editions

BUSYBOX = Path("/usr/bin/busybox")
APP = 'CMD ["/bin/busybox", "sh", "-c", "trap exit TERM; busybox httpd -f -p 8080 -h /www & wait"]'
PARTS = ("supervisor", "postgres", "containerd", "engine", "build-engine", "haproxy")
"""What an upgrade leaves as it is."""
RATE = 100


@dataclass
class Stage:
    """A running platform with an app, and what it may be upgraded to."""

    trackside: Trackside
    service: Service
    editions: Editions
    folder: Path
    """That of the failpoints."""

    @property
    def cli(self) -> Cli:
        return self.trackside.cli

    @property
    def version(self) -> str:
        """As the API says it."""
        return str(self.trackside.api.get("/v1/version").json()["version"])

    def pids(self) -> dict[str, int]:
        return {each["name"]: each["pid"] for each in self.cli.json("server", "status")["processes"]}

    def untouched(self) -> dict[str, int]:
        return {name: pid for name, pid in self.pids().items() if name in PARTS}

    def begin(self, source: Path, *flags: str) -> subprocess.Popen[str]:
        """Start an upgrade."""
        command = [str(CHECKOUT / "bin/trackside"), "server", "upgrade", "--from", str(source), "--json", *flags]
        return subprocess.Popen(
            command, env=self.cli.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def last(self) -> dict[str, Any]:
        return self.cli.json("server", "versions")["last_upgrade"]

    def kill_at(self, point: str, source: Path) -> None:
        """Begin an upgrade and kill it where it stands still."""
        name = f"upgrade@upgrade.{point}"
        (self.folder / ARMED).mkdir(exist_ok=True)
        (self.folder / ARMED / name).touch()
        process = self.begin(source)
        until((self.folder / HALTED / name).exists, 180, lambda: f"{point}: {process.poll()}")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        (self.folder / HALTED / name).unlink()

    def redeploy(self) -> None:
        """A deployment works, from the request to the end."""
        assert self.service.command("redeploy")["status"] == "SUCCESS"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("failpoints")
    settings = {"TRACKSIDE_FAILPOINTS": str(folder), "TRACKSIDE_ALLOW_ENGINE_IMAGES": "true"}
    with running_platform(**settings) as trackside:
        trackside.cli.run("deploy", "--project", "shop", "--service", "web", "--image", image_of(trackside))
        editions = Editions(tmp_path_factory.mktemp("editions"), trackside.home)
        yield Stage(trackside, trackside.service("shop", "web"), editions, folder)


def image_of(trackside: Trackside) -> str:
    """The content id of a small web server, put into the platform's own engine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        page = tarfile.TarInfo("www/index.html")
        page.size = 3
        tar.addfile(page, io.BytesIO(b"ok\n"))
    url = json.loads((trackside.home / "settings.json").read_text())["engine_url"]
    command = ["/usr/bin/docker", "-H", url, "import", "-c", APP, "-c", "EXPOSE 8080", "-c", "ENV PATH=/bin", "-"]
    done = subprocess.run(command, input=buffer.getvalue(), capture_output=True, check=True, timeout=60)
    return done.stdout.decode().strip()


async def under_load(stage: Stage, source: Path, *flags: str) -> tuple[int, Any, str]:
    """Upgrade while the app is asked; exit code, document and what was said. No request of the app's may fail."""
    async with stage.service.load(RATE) as load:
        process = stage.begin(source, *flags)
        output, said = await asyncio.to_thread(process.communicate, timeout=240)
    print(load.summary())
    assert not load.failures, load.summary()
    assert len(load.outcomes) > RATE
    print(said)
    return process.returncode, json.loads(output) if output else {}, said


async def test_a_failed_migration_leaves_all_as_it_was_and_the_mended_version_takes_over_without_a_lost_request(
    stage: Stage,
) -> None:
    before, revision, pids, parts = stage.version, min(stage.editions.revisions()), stage.pids(), stage.untouched()
    broken = stage.editions.make(migration='raise RuntimeError("halfway")')
    code, _, said = await under_load(stage, broken)
    assert code == 1
    assert f"halfway. The version {before} runs on, unchanged." in said
    assert "hint: " in said
    assert (stage.pids(), stage.version, stage.last()["outcome"]) == (pids, before, "refused")
    assert not stage.editions.has_column(revision + 1)
    stage.redeploy()

    mended = stage.editions.make()
    code, done, said = await under_load(stage, mended)
    assert (code, done.get("from"), done.get("to")) == (0, before, stage.editions.number), said
    assert f"tenant {revision + 1:04} (workspaces: 1)" in done["migrations"]
    assert set(stage.editions.revisions()) == {revision + 1}
    assert stage.version == stage.cli.json("server", "status")["version"] == stage.editions.number
    assert Path(done["snapshot"]).stat().st_size > 10_000
    stage.redeploy()
    stage.cli.run("server", "start")  # by the new version: it finds what it has started
    assert stage.untouched() == parts
    assert stage.cli.json("server", "upgrade", "--from", str(mended))["outcome"] == "nothing to do"


async def test_a_version_whose_deployer_does_not_stay_up_goes_back_by_itself(stage: Stage) -> None:
    before, revision, parts = stage.version, min(stage.editions.revisions()), stage.untouched()
    code, _, said = await under_load(stage, stage.editions.make(deployer='raise RuntimeError("nothing deploys")'))
    assert code == 1
    assert "nothing deploys" in said
    assert f"The version {before} runs again" in said
    assert stage.version == stage.cli.json("server", "status")["version"] == before
    assert (stage.untouched(), stage.last()["outcome"]) == (parts, "went back")
    assert stage.editions.has_column(revision + 1)
    stage.redeploy()
    stage.cli.run("server", "start")  # by the former version, with schemas that are ahead of it
    assert stage.untouched() == parts


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", [step.name for step in STEPS])
async def test_an_upgrade_killed_at_any_step_is_finished_by_the_same_command(
    stage: Stage, step: str, moment: str
) -> None:
    parts, edition = stage.untouched(), stage.editions.make()
    async with stage.service.load(RATE) as load:
        await asyncio.to_thread(stage.kill_at, f"{step}.{moment}", edition)
        output, said = await asyncio.to_thread(stage.begin(edition).communicate, timeout=240)
    assert not load.failures, load.summary()
    assert output, said
    assert json.loads(output)["to"] == stage.version == stage.editions.number
    assert len(set(stage.editions.revisions())) == 1
    assert stage.untouched() == parts
    stage.redeploy()


@pytest.mark.slow
async def test_a_start_after_a_killed_upgrade_goes_back(stage: Stage) -> None:
    before, parts = stage.version, stage.untouched()
    stage.kill_at("verify.after", stage.editions.make())
    stage.cli.run("server", "start")
    assert (stage.version, stage.untouched()) == (before, parts)
    stage.redeploy()


@pytest.mark.slow
async def test_an_upgrade_from_wheels_needs_no_checkout(stage: Stage, tmp_path: Path) -> None:
    edition = stage.editions.make()
    wheels = wheels_of(edition, tmp_path / "dist")
    shutil.rmtree(edition)
    code, done, said = await under_load(stage, wheels / f"trackside-{stage.editions.number}-py3-none-any.whl")
    assert (code, done.get("to")) == (0, stage.editions.number), said
    shutil.rmtree(wheels)
    stage.cli.run("server", "start")
    stage.redeploy()


def wheels_of(checkout: Path, target: Path) -> Path:
    """What `make wheels` makes."""
    uv = next((checkout / ".tools").glob("uv-*/uv"))
    locked = ("--frozen", "--all-packages", "--no-dev", "--no-emit-workspace")
    commands = [
        ["build", "--wheel", "--out-dir", str(target), str(checkout / name)] for name in ("planner", "server", "cli")
    ]
    commands.append(["export", "--project", str(checkout), *locked, "--output-file", str(target / "requirements.txt")])
    for command in commands:
        subprocess.run([str(uv), "--quiet", *command], check=True, timeout=120)
    return target
