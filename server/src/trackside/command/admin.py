"""`trackside admin migrate|replay|verify|collect|clear`."""

import asyncio
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from trackside import bootstrap
from trackside.command.explaining import explained
from trackside.command.printing import announcing, complain, say, say_json, table
from trackside.entry.admin import database
from trackside.entry.admin.replay import Replayed, replay
from trackside.host import leftovers
from trackside.kit.garbage import in_total
from trackside.rooms.identity import service as identity


def add_commands(parser: ArgumentParser) -> None:
    """The sub-commands of `admin`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, help_text, run in (
        ("migrate", "bring every schema of the database up to date", _migrate),
        ("replay", "rebuild every read model from the events, and tell what was different", _replay),
        ("verify", "check that no event was changed, removed or inserted", _verify),
    ):
        commands.add_parser(name, help=help_text, description=help_text).set_defaults(run=explained(run))
    help_text = "remove what is no longer needed and takes space, as the platform does by itself every ten minutes"
    collect = commands.add_parser("collect", help=help_text, description=help_text)
    collect.add_argument("--dry-run", action="store_true", help="only tell what would go")
    collect.add_argument("--json", action="store_true", help="for programs")
    collect.set_defaults(run=explained(_collect))
    help_text = "remove all that is left of an installation whose state directory is gone; the doctor names it"
    clear = commands.add_parser("clear", help=help_text, description=help_text)
    clear.add_argument("installation", help="its id: 8 hex digits")
    clear.add_argument("--yes", action="store_true", help="its database too, for good")
    clear.set_defaults(run=explained(_clear))


def _migrate(_: Namespace) -> int:
    asyncio.run(bootstrap.prepare_database())
    say("Every schema is up to date.")
    return 0


async def _replayed() -> Replayed:
    async with bootstrap.started_house() as house, house.owner() as owner:
        async with owner.transaction() as tx:
            workspaces = [workspace.id for workspace in await identity.all_workspaces(tx)]
        return await replay(owner, workspaces, bootstrap.READ_MODELS)


def _replay(_: Namespace) -> int:
    outcome = asyncio.run(_replayed())
    for changed in outcome.changed:
        say(f"was different: {changed}")
    say(f"Folded {outcome.events} events; {len(outcome.changed) or 'no'} tables were different.")
    return 1 if outcome.changed else 0


async def _broken() -> dict[str, int]:
    async with bootstrap.started_house() as house:
        return await database.verify_events(house.database)


def _verify(_: Namespace) -> int:
    broken = asyncio.run(_broken())
    for stream, seq in broken.items():
        say(f"broken: stream {stream} at event {seq}")
    say("Every stream is whole." if not broken else "Events were tampered with or lost.")
    return 1 if broken else 0


async def _collected(*, is_trial: bool) -> bootstrap.Collected:
    async with bootstrap.started_house() as house:
        return await bootstrap.collect_garbage(house, is_trial=is_trial)


def _collect(arguments: Namespace) -> int:
    outcome = asyncio.run(_collected(is_trial=arguments.dry_run))
    if arguments.json:
        say_json(
            {
                "dry_run": arguments.dry_run,
                "freed": [asdict(one) for one in outcome.freed],
                "size_bytes": in_total(outcome.freed),
                "troubles": [
                    {"code": one.code, "sentence": one.sentence, "hint": one.hint} for one in outcome.troubles
                ],
            }
        )
        return 1 if outcome.troubles else 0
    if outcome.freed:
        rows = [[one.kind, str(one.count or ""), f"{one.size_bytes / 1e6:.1f} MB"] for one in outcome.freed]
        table([["WHAT", "COUNT", "SIZE"], *rows])
    verb = "Would free" if arguments.dry_run else "Freed"
    say(f"{verb} {in_total(outcome.freed) / 1e6:.1f} MB." if outcome.freed else "There is nothing to collect.")
    for trouble in outcome.troubles:
        complain(trouble)
    return 1 if outcome.troubles else 0


def _clear(arguments: Namespace) -> int:
    report = asyncio.run(leftovers.clear(arguments.installation, announcing(as_json=False), with_data=arguments.yes))
    for sentence in report.remaining:
        say(f"left behind: {sentence}")
    say("Cleared." if not report.remaining else "Not all could be cleared (see above).")
    return 1 if report.remaining else 0
