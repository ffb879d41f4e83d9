"""`server` and `admin`: commands of the platform's own machine, which another program carries out."""

from typing import Any

import typer

from trackside_cli.errors import CommandError

ANYTHING: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class NotHere(CommandError):
    code = "cli.host_only"


def server() -> None:
    """Start, stop and look after the platform, on its own machine."""
    raise _elsewhere("server")


def admin() -> None:
    """Operator's work on the platform's data, on its own machine."""
    raise _elsewhere("admin")


def _elsewhere(name: str) -> NotHere:
    return NotHere(
        f"`trackside {name}` works only on the machine that runs the platform.",
        hint=f"There, in Trackside's checkout: `bin/trackside {name} …`.",
    )


def register(app: typer.Typer) -> None:
    app.command(context_settings=ANYTHING)(server)
    app.command(context_settings=ANYTHING)(admin)
