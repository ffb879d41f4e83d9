"""`trackside server start|stop|status|doctor|token`."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from trackside import bootstrap
from trackside.command.printing import announce, say, say_json, table
from trackside.host import doctor
from trackside.host import start as starting
from trackside.host import stop as stopping
from trackside.host.doctor import Health
from trackside.host.processes import Supervisor


def add_commands(parser: ArgumentParser) -> None:
    """The sub-commands of `server`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "start", "start the platform, or put right what is missing of a running one", _start)
    _add(commands, "stop", "stop exactly what was started; the state directory stays", _stop)
    status = _add(commands, "status", "tell what runs, and where", _status)
    status.add_argument("--json", action="store_true", help="for programs")
    check = _add(commands, "doctor", "look for what is wrong with this machine, and say what mends it", _doctor)
    check.add_argument("--json", action="store_true", help="for programs")
    token = _add(commands, "token", "make an API token that acts as the owner of workspace `default`", _token)
    token.add_argument("--name", required=True, help="what the token is for")


def _add(commands: Any, name: str, help_text: str, run: Callable[[Namespace], int]) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(run=run)
    return parser


def _start(_: Namespace) -> int:
    async def run() -> bool:
        machine = await bootstrap.open_machine()
        started = await starting.start(machine, announce, bootstrap.prepare_database)
        return started.was_running

    was_running = asyncio.run(run())
    settings = bootstrap.settings()
    say()
    say("The platform was running already; what was missing is put right." if was_running else "The platform runs.")
    say(f"  API   {settings.api_url}")
    say(f"  apps  {settings.edge_url}")
    return 0


def _stop(_: Namespace) -> int:
    machine = bootstrap.present_machine()
    if machine is None:
        say("Nothing was started from this state directory.")
        return 0
    report = asyncio.run(stopping.stop(machine, announce))
    for sentence in report.remaining:
        say(f"left behind: {sentence}")
    say("Stopped." if not report.remaining else "Stopped, but something is left (see above).")
    return 1 if report.remaining else 0


def _status(arguments: Namespace) -> int:
    machine = bootstrap.present_machine()
    settings = bootstrap.settings()
    found = []
    if machine is not None:
        found = asyncio.run(Supervisor(machine.supervisor_plan({}), machine.layout.supervisor_config).status())
    if arguments.json:
        say_json(
            {
                "api_url": settings.api_url,
                "edge_url": settings.edge_url,
                "base_domain": settings.base_domain,
                "data_dir": str(settings.home),
                "version": bootstrap.VERSION,
                "processes": [
                    {
                        "name": p.name,
                        "pid": p.pid,
                        "state": p.state,
                        "rss_bytes": p.memory_bytes,
                        "uptime_s": p.uptime_seconds,
                    }
                    for p in found
                ],
            }
        )
        return 0
    if not found:
        say("The platform is not running. Start it: `bin/trackside server start`.")
        return 1
    say(f"API {settings.api_url}   apps {settings.edge_url}   version {bootstrap.VERSION}   state {settings.home}")
    rows = [[p.name, str(p.pid), p.state, f"{p.memory_bytes >> 20} MiB", f"{p.uptime_seconds} s"] for p in found]
    table([["PROCESS", "PID", "STATE", "MEMORY", "UP"], *rows])
    return 0 if all(p.state == "RUNNING" for p in found) else 1


def _doctor(arguments: Namespace) -> int:
    async def run() -> list[doctor.Finding]:
        return await doctor.examine(await bootstrap.open_machine())

    findings = asyncio.run(run())
    if arguments.json:
        say_json([asdict(finding) for finding in findings])
    else:
        marks = {Health.OK: "ok", Health.WARNING: "warning", Health.FAILED: "FAILED"}
        for finding in findings:
            say(f"{marks[finding.health]:8} {finding.check}: {finding.sentence}")
            if finding.mend:
                say(f"{'':8} → {finding.mend}")
    return 0 if doctor.is_healthy(findings) else 1


def _token(arguments: Namespace) -> int:
    say(asyncio.run(bootstrap.create_token(arguments.name)))
    return 0
