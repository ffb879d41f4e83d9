"""Who you are: login, logout, whoami."""

from typing import Annotated
from urllib.parse import urlsplit

import typer

from trackside_cli import output, session
from trackside_cli.commands.flags import Json, connected, signed_in
from trackside_cli.errors import NotSignedIn

Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", help="The token; `-` or nothing reads it from stdin.", show_default=False),
]
ApiUrl = Annotated[
    str | None, typer.Option("--api-url", metavar="URL", help="Address of the platform's API.", show_default=False)
]


def login(token: Token = None, api_url: ApiUrl = None, as_json: Json = False) -> None:
    """Sign in with an API token.

    The token is checked, then kept for this address in your own configuration directory, readable by you only.
    `trackside server token --name NAME` makes one on the platform's machine.
    """
    present = session.resolve(api_url)
    given = (token if token not in (None, "-") else output.secret(f"Token for {present.api_url}: ")) or ""
    if not given.strip():
        raise NotSignedIn("No token was given.", hint=session.SIGN_IN_HINT)
    _warn_if_open(present.api_url)
    with connected(present.api_url, given.strip()) as connection:
        me = connection.api.me()
    path = session.save_login(present.api_url, given.strip())
    if as_json:
        output.as_json(me)
        return
    output.say(f"Signed in to {present.api_url} as {me['name']}, workspace {me['workspace']['name']}.")
    output.note(f"The token is kept in {path}.", "dim")
    _note_if_overruled(present.api_url)


def _warn_if_open(api_url: str) -> None:
    parts = urlsplit(api_url)
    host = parts.hostname or ""
    if parts.scheme == "http" and not (host == "localhost" or host.startswith("127.") or host == "::1"):
        output.note("This address is plain http: others on the way can read the token.", "yellow")


def _note_if_overruled(api_url: str) -> None:
    """Say so where the next command would go elsewhere, or with another token."""
    following = session.resolve()
    if following.api_url != api_url:
        output.note(
            f"{following.origin} leads elsewhere, to {following.api_url}; set TRACKSIDE_API_URL={api_url}.", "yellow"
        )
    elif session.variable("TRACKSIDE_TOKEN"):
        output.note("TRACKSIDE_TOKEN is set and is used instead of this login.", "yellow")


def logout(api_url: ApiUrl = None, as_json: Json = False) -> None:
    """Forget the saved token of this platform."""
    present = session.resolve(api_url)
    was_signed_in = session.forget_login(present.api_url)
    if as_json:
        output.as_json({"api_url": present.api_url, "was_signed_in": was_signed_in})
    elif was_signed_in:
        output.say(f"Signed out of {present.api_url}.")
    else:
        output.say(f"You were not signed in to {present.api_url}.")
    if session.variable("TRACKSIDE_TOKEN"):
        output.note("TRACKSIDE_TOKEN is still set.", "yellow")


def whoami(as_json: Json = False) -> None:
    """Show as whom you are signed in, and where."""
    with signed_in() as connection:
        me = connection.api.me()
    if as_json:
        output.as_json(me)
    else:
        output.say(f"{me['name']} ({me['kind']}), workspace {me['workspace']['name']}, at {connection.api_url}")


def register(app: typer.Typer) -> None:
    app.command()(login)
    app.command()(logout)
    app.command()(whoami)
