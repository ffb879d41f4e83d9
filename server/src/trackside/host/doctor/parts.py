"""The platform's parts: database, engines, processes."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from trackside.host.doctor.findings import Finding, Patient, failed, ok, warning
from trackside.host.engine import engine_info
from trackside.host.files import read_json
from trackside.host.machine import WATCHER
from trackside.host.postgres import Postgres
from trackside.host.processes import Supervisor

OLDEST_ENGINE = (20, 10)
TESTED_ENGINES = frozenset({20})
"""Major versions that the tests of this release run on."""
CONNECT_SECONDS = 5


async def database(patient: Patient) -> Finding:
    machine, url = patient.machine, patient.surroundings.database_url
    if url:
        return await _external(url)
    if await Postgres(machine.postgres_paths).answers():
        return ok("database", "PostgreSQL takes connections.")
    log = machine.layout.logs / "postgres.log"
    return failed("database", "PostgreSQL takes no connections.", f"bin/trackside server start; less {log}")


async def _external(url: str) -> Finding:
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.Error as refused:
        said = (str(refused).strip().splitlines() or ["no answer"])[-1]
        return failed("database", f"The external PostgreSQL can't be used: {said}", "Correct TRACKSIDE_DATABASE_URL.")
    if version < 16:
        return failed("database", f"The external PostgreSQL is version {version}; 16 is needed.", "Upgrade PostgreSQL.")
    return ok("database", f"The external PostgreSQL {version} takes connections.")


async def engine(patient: Patient) -> Finding:
    layout = patient.machine.layout
    url = str((read_json(layout.settings_file) or {}).get("engine_url", ""))
    info = await engine_info(url) if url else None
    if info is None:
        where = f" at {url}" if url else ""
        return failed("engine", f"No container engine answers{where}.", "bin/trackside server start")
    return judge_engine(info)


def judge_engine(info: Mapping[str, Any]) -> Finding:
    """Pure. `info`: what the engine says of itself."""
    version = str(info["ServerVersion"])
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_ENGINE:
        return failed("engine", f"Engine {version} is too old; 20.10 is needed.", "Upgrade the engine.")
    if not info.get("LiveRestoreEnabled"):
        sentence = (
            f"Engine {version} stops all apps when it restarts or dies: live-restore is off. Requests fail until it is back "
            "and the edge has seen the apps well; no deployment is lost."
        )
        mend = 'Set {"live-restore": true} in /etc/docker/daemon.json, then: systemctl reload docker'
        return warning("engine", sentence, mend)
    if numbers[0] not in TESTED_ENGINES:
        sentence = (
            f"Engine {version} answers; this release was tested with {', '.join(map(str, TESTED_ENGINES))}.x only."
        )
        return warning(
            "engine", sentence, "Should apps behave strangely: TRACKSIDE_ENGINE_URL=embedded runs one of our own."
        )
    return ok("engine", f"Engine {version} answers; live-restore is on.")


async def build_engine(patient: Patient) -> Finding:
    machine = patient.machine
    if await engine_info(f"unix://{machine.layout.build_engine_socket}") is None:
        return failed("build engine", "The build engine does not answer.", "bin/trackside server start")
    if not machine.build_plan.disk.is_mounted():
        return failed("build engine", "The builds' disk is not mounted.", "make stop; make demo")
    usage = shutil.disk_usage(machine.layout.build_disk)
    return ok("build engine", f"The build engine answers; its disk has {usage.free >> 20} MiB free.")


async def processes(patient: Patient) -> Finding:
    machine = patient.machine
    supervisor = Supervisor(machine.supervisor_plan({}), machine.layout.supervisor_config)
    statuses = await supervisor.status()
    if not statuses:
        return failed("processes", judge_unwatched(supervisor.unwatched()), "bin/trackside server start")
    ill = [f"{status.name} ({status.state})" for status in statuses if status.state != "RUNNING"]
    if ill:
        return failed("processes", f"Not running: {', '.join(ill)}.", f"less {machine.layout.logs}/*.log")
    return ok("processes", f"{len(statuses)} processes run.")


def judge_unwatched(left: Sequence[str]) -> str:
    """Pure. `left`: what runs though no supervisor answers."""
    if not left:
        return "The platform is not running."
    if WATCHER in left:
        return "The supervisor does not answer; where it has ended, its watcher is bringing it back."
    return f"Nobody watches what runs ({', '.join(left)}): the supervisor is gone, and what ends stays ended."
