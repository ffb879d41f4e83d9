"""`trackside server upgrade` and `server versions`."""

import asyncio
import os
from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path
from typing import Any, NoReturn

from trackside import bootstrap
from trackside.command.explaining import explained
from trackside.command.printing import announcing, say, say_json, table
from trackside.host.errors import PartFailed, VersionUnusable
from trackside.host.machine import Machine
from trackside.host.preparation import Wish, handover, is_done, prepare
from trackside.host.upgrade import Upgraded, upgrade
from trackside.host.upgrade_record import Outcome, Record, read_record
from trackside.host.versions import Version, current_version, prepared_versions
from trackside.kit import failpoints

UPGRADE_HELP = "run another version of the platform, without a pause for apps; exits with 1, and the present version running, on a failure"
VERSIONS_HELP = "tell which version runs the platform, which are kept, and how the last upgrade ended"


def add_commands(commands: Any) -> None:
    """`upgrade` and `versions`."""
    parser: ArgumentParser = commands.add_parser("upgrade", help=UPGRADE_HELP, description=UPGRADE_HELP)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--from", dest="source", type=Path, metavar="PATH", help="a checkout, a wheel, or its directory")
    what.add_argument("--take-over", action="store_true", help=SUPPRESS)
    parser.add_argument("--allow-downgrade", action="store_true", help="take an older version too")
    parser.add_argument("--dry-run", action="store_true", help="prepare the version, and tell what it would do")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=explained(_upgrade))
    listing: ArgumentParser = commands.add_parser("versions", help=VERSIONS_HELP, description=VERSIONS_HELP)
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(run=explained(_versions))


def _upgrade(arguments: Namespace) -> int:
    machine = bootstrap.present_machine()
    if machine is None:
        raise PartFailed("There is no platform to upgrade.", hint="Start one: `bin/trackside server start`.")
    if folder := bootstrap.settings().failpoints:
        failpoints.turn_on(folder, "upgrade")
    wish = Wish(allow_downgrade=arguments.allow_downgrade, is_dry=arguments.dry_run)
    if not arguments.take_over:
        return _begin(machine, wish, arguments)
    done = asyncio.run(upgrade(machine, wish, bootstrap.duties(), announcing(as_json=arguments.json)))
    if arguments.json:
        say_json(_document(done, "possible" if wish.is_dry else Outcome.UPGRADED))
    else:
        _tell(done, wish)
    return 0


def _begin(machine: Machine, wish: Wish, arguments: Namespace) -> int:
    """The present version's part; the new one goes on in this very process."""
    path: Path = arguments.source.resolve()
    if not path.exists():
        raise VersionUnusable(f"There is nothing at {path}.")
    announce = announcing(as_json=arguments.json)
    version = asyncio.run(prepare(machine, path, wish, bootstrap.package_environment(), announce))
    if not is_done(machine, version):
        _hand_over(machine, version, wish, as_json=arguments.json)
    if arguments.json:
        say_json(_document(Upgraded(version, version), "nothing to do"))
    else:
        say(f"This very version {version.number} runs already.")
    return 0


def _hand_over(machine: Machine, version: Version, wish: Wish, *, as_json: bool) -> NoReturn:
    argv, environment = handover(machine, version, wish, as_json=as_json)
    os.execve(argv[0], argv, environment)


def _document(done: Upgraded, outcome: str) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "from": done.before.number,
        "to": done.after.number,
        "directory": str(done.after.directory),
        "migrations": list(done.migrations),
        "restarted": list(done.restarted),
        "snapshot": done.snapshot,
        "api_seconds": round(done.api_seconds, 3),
        "left": list(done.left),
    }


def _tell(done: Upgraded, wish: Wish) -> None:
    say()
    migrations = ", ".join(done.migrations) or "none"
    if wish.is_dry:
        say(f"The upgrade from {done.before.number} to {done.after.number} is possible; nothing was changed.")
        say(f"  migrations  {migrations}")
        say(f"  restarts    {', '.join(done.restarted)}; apps are served on meanwhile")
        return
    say(f"The platform runs version {done.after.number}; before it was {done.before.number}.")
    say(f"  migrations  {migrations}")
    say(f"  API         did not answer for {done.api_seconds:.1f} s")
    say(f"  saved       {done.snapshot}")
    for sentence in done.left:
        say(f"left behind: {sentence}")


def _versions(arguments: Namespace) -> int:
    machine = bootstrap.present_machine()
    found = _found(machine) if machine else []
    record = read_record(machine.layout) if machine else None
    if arguments.json:
        rows = [{"number": v.number, "directory": str(v.directory), "is_current": n == 0} for n, v in enumerate(found)]
        say_json({"versions": rows, "last_upgrade": _last(record)})
    elif not found:
        say(f"There is no platform in this state directory; this is version {bootstrap.VERSION}.")
    else:
        rows = [[v.number, "current" if n == 0 else "kept", str(v.directory)] for n, v in enumerate(found)]
        table([["VERSION", "STATE", "DIRECTORY"], *rows])
    if record and not arguments.json:
        say(_sentence(record))
    return 0


def _found(machine: Machine) -> list[Version]:
    """The current version, then the others."""
    current = current_version(machine.layout)
    others = prepared_versions(machine.layout)
    return [current, *(version for version in others if version.directory != current.directory)]


def _last(record: Record | None) -> dict[str, str] | None:
    if record is None:
        return None
    return {
        "from": record.from_number,
        "to": record.to_number,
        "began_at": record.began_at,
        "outcome": record.outcome,
        "step": record.step,
        "reason": record.reason,
        "snapshot": record.snapshot,
    }


def _sentence(record: Record) -> str:
    head = f"The last upgrade, from {record.from_number} to {record.to_number}, begun {record.began_at},"
    if record.outcome is Outcome.RUNNING:
        return f"{head} was cut off at `{record.step}`, or still runs. Give the same command again to go on."
    return f"{head} {'succeeded.' if record.outcome is Outcome.UPGRADED else f'{record.outcome}: {record.reason}'}"
