"""`trackside admin migrate|replay|verify`."""

import asyncio
from argparse import ArgumentParser, Namespace

from trackside import bootstrap
from trackside.command.printing import say


def add_commands(parser: ArgumentParser) -> None:
    """The sub-commands of `admin`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, help_text, run in (
        ("migrate", "bring every schema of the database up to date", _migrate),
        ("replay", "rebuild every read model from the events, and tell what was different", _replay),
        ("verify", "check that no event was changed, removed or inserted", _verify),
    ):
        commands.add_parser(name, help=help_text, description=help_text).set_defaults(run=run)


def _migrate(_: Namespace) -> int:
    asyncio.run(bootstrap.prepare_database())
    say("Every schema is up to date.")
    return 0


def _replay(_: Namespace) -> int:
    outcome = asyncio.run(bootstrap.replay())
    for table in outcome.changed:
        say(f"was different: {table}")
    say(f"Folded {outcome.events} events; {len(outcome.changed) or 'no'} tables were different.")
    return 0


def _verify(_: Namespace) -> int:
    broken = asyncio.run(bootstrap.verify_events())
    for stream, seq in broken.items():
        say(f"broken: stream {stream} at event {seq}")
    say("Every stream is whole." if not broken else "Events were tampered with or lost.")
    return 1 if broken else 0
