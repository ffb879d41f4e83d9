"""`trackside server start|stop|status|doctor`; `server token …`, `upgrade` and `versions` are in modules of their own."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from trackside import bootstrap
from trackside.command import tokens, upgrade
from trackside.command.explaining import explained
from trackside.command.printing import announcing, say, say_json, table
from trackside.host import doctor
from trackside.host import start as starting
from trackside.host import stop as stopping
from trackside.host.answering import silent_parts
from trackside.host.doctor import Health
from trackside.host.processes import ProcessStatus, Supervisor


def add_commands(parser: ArgumentParser) -> None:
    """The sub-commands of `server`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, help_text, run in (
        ("start", "start the platform, or put right what is missing of a running one", _start),
        ("stop", "stop exactly what was started; the state directory stays", _stop),
        ("status", "tell what runs, and where; exits with 1 unless everything does", _status),
        (
            "doctor",
            "look for what is wrong with this machine, and say what mends it; exits with 1 on a problem",
            _doctor,
        ),
    ):
        _add(commands, name, help_text, run)
    upgrade.add_commands(commands)
    tokens.add_commands(commands)


def _add(commands: Any, name: str, help_text: str, run: Callable[[Namespace], int]) -> None:
    parser: ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=explained(run))


def _start(arguments: Namespace) -> int:
    async def run() -> bool:
        machine = await bootstrap.open_machine()
        started = await starting.start(machine, announcing(as_json=arguments.json), bootstrap.prepare_database)
        return started.was_running

    was_running = asyncio.run(run())
    if arguments.json:
        say_json(_document(_processes()) | {"was_running": was_running})
        return 0
    settings = bootstrap.settings()
    say()
    say("The platform was running already; what was missing is put right." if was_running else "The platform runs.")
    say(f"  API   {settings.api_url}")
    say(f"  apps  {settings.edge_url}")
    return 0


def _stop(arguments: Namespace) -> int:
    machine = bootstrap.present_machine()
    report = stopping.Stopped()
    if machine is not None:
        report = asyncio.run(stopping.stop(machine, announcing(as_json=arguments.json)))
    if arguments.json:
        say_json({"was_started": machine is not None} | asdict(report))
    elif machine is None:
        say("Nothing was started from this state directory.")
    else:
        for sentence in report.remaining:
            say(f"left behind: {sentence}")
        say("Stopped." if not report.remaining else "Stopped, but something is left (see above).")
    return 1 if report.remaining else 0


def _status(arguments: Namespace) -> int:
    found = _processes()
    if arguments.json:
        say_json(_document(found) | {"low_disks": asyncio.run(bootstrap.low_disks()) if found else []})
    elif not found:
        say("The platform is not running. Start it: `bin/trackside server start`.")
    else:
        settings = bootstrap.settings()
        say(f"API {settings.api_url}   apps {settings.edge_url}   version {bootstrap.VERSION}   state {settings.home}")
        rows = [[p.name, str(p.pid), p.state, f"{p.memory_bytes >> 20} MiB", f"{p.uptime_seconds} s"] for p in found]
        table([["PROCESS", "PID", "STATE", "MEMORY", "UP"], *rows])
        for sentence in asyncio.run(bootstrap.low_disks()):
            say(f"{sentence} New deployments are refused; what runs goes on. Mend it: `bin/trackside admin collect`.")
    return 0 if found and all(process.state == "RUNNING" for process in found) else 1


def _processes() -> Sequence[ProcessStatus]:
    machine = bootstrap.present_machine()
    if machine is None:
        return []
    found = asyncio.run(Supervisor(machine.supervisor_plan({}), machine.layout.supervisor_config).status())
    running = {process.name for process in found if process.state == "RUNNING"}
    silent = silent_parts([door for door in machine.doors if door.name in running])
    return [replace(process, state="HANGING") if process.name in silent else process for process in found]


def _document(found: Sequence[ProcessStatus]) -> dict[str, Any]:
    """What runs, and where, for programs."""
    settings = bootstrap.settings()
    return {
        "api_url": settings.api_url,
        "edge_url": settings.edge_url,
        "base_domain": settings.base_domain,
        "data_dir": str(settings.home),
        "version": bootstrap.VERSION,
        "processes": [
            {"name": p.name, "pid": p.pid, "state": p.state, "rss_bytes": p.memory_bytes, "uptime_s": p.uptime_seconds}
            for p in found
        ],
    }


def _doctor(arguments: Namespace) -> int:
    more = {"garbage": bootstrap.garbage_finding} if bootstrap.present_machine() else {}
    findings = asyncio.run(doctor.examine(bootstrap.examined_machine(), bootstrap.surroundings(), more))
    if arguments.json:
        say_json([asdict(finding) for finding in findings])
    else:
        marks = {Health.OK: "ok", Health.WARNING: "warning", Health.FAILED: "FAILED"}
        for finding in findings:
            say(f"{marks[finding.health]:8} {finding.check}: {finding.sentence}")
            if finding.mend:
                say(f"{'':8} → {finding.mend}")
    return 0 if doctor.is_healthy(findings) else 1
