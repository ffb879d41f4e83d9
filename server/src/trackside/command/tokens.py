"""`trackside server token create|list|revoke`; without any of these it is `create`, for scripts that know it so."""

import asyncio
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable
from datetime import UTC
from typing import Any

from trackside import bootstrap
from trackside.command.explaining import explained
from trackside.command.printing import say, say_json, table
from trackside.entry.admin import database
from trackside.rooms.identity.model import NewToken, Token


def add_commands(commands: Any) -> None:
    """`token` with its own sub-commands."""
    help_text = "make, list and revoke API tokens, which act as the owner of workspace `default`"
    token: ArgumentParser = commands.add_parser("token", help=help_text, description=help_text)
    token.add_argument("--name", help="make a token for this, as `create` does")
    token.add_argument("--json", action="store_true", help="for programs")
    token.set_defaults(run=explained(_create), complain=token.error)
    verbs = token.add_subparsers(metavar="COMMAND")
    making = _add(verbs, "create", "make a token; it is shown this once", _create)
    making.add_argument("--name", required=True, help="what the token is for")
    _add(verbs, "list", "list the tokens that are accepted", _list)
    revoke = _add(verbs, "revoke", "let a token be refused from now on", _revoke)
    revoke.add_argument("token", help="its id, its beginning as `list` shows it, or its name")


def _add(verbs: Any, name: str, help_text: str, run: Callable[[Namespace], int]) -> ArgumentParser:
    parser: ArgumentParser = verbs.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("--json", action="store_true", default=SUPPRESS, help="for programs")
    parser.set_defaults(run=explained(run))
    return parser


async def create(name: str) -> NewToken:
    """A new token that acts as the owner of the workspace `default`."""
    async with bootstrap.started_house() as house:
        return await database.create_token(house.database, name)


async def _found() -> list[Token]:
    async with bootstrap.started_house() as house:
        return await database.list_tokens(house.database)


async def _revoked(named: str) -> Token:
    async with bootstrap.started_house() as house:
        return await database.revoke_token(house.database, named)


def _create(arguments: Namespace) -> int:
    name: str | None = arguments.name
    if name is None:
        return int(arguments.complain("--name is required, or one of create, list, revoke"))
    made = asyncio.run(create(name))
    if arguments.json:
        say_json({"id": str(made.id), "name": made.name, "prefix": made.prefix, "token": made.text})
    else:
        say(made.text)
    return 0


def _list(arguments: Namespace) -> int:
    found = asyncio.run(_found())
    if arguments.json:
        say_json([_document(token) for token in found])
    elif found:
        rows = [[token.name, f"{token.prefix}…", _moment(token), str(token.id)] for token in found]
        table([["NAME", "TOKEN", "CREATED", "ID"], *rows])
    else:
        say("There is no token. Make one: `bin/trackside server token create --name me`.")
    return 0


def _revoke(arguments: Namespace) -> int:
    revoked = asyncio.run(_revoked(arguments.token))
    if arguments.json:
        say_json(_document(revoked))
    else:
        say(f"Revoked token {revoked.name} ({revoked.prefix}…); it is refused from now on.")
    return 0


def _document(token: Token) -> dict[str, str]:
    created = token.created_at.astimezone(UTC).isoformat()
    return {"id": str(token.id), "name": token.name, "prefix": token.prefix, "created_at": created}


def _moment(token: Token) -> str:
    return token.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
