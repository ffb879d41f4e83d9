"""The command line, put together: every command, and the one place where errors become exit codes."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from trackside_cli import output, version
from trackside_cli.commands import (
    account,
    config,
    deploy,
    deployments,
    environment,
    events,
    explain,
    host,
    link,
    logs,
    project,
    running,
    service,
    status,
    up,
    variables,
)
from trackside_cli.errors import VERSIONS_HINT, CommandError, ExitCode, UnexpectedAnswer, UsageError

app = typer.Typer(
    name="trackside",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: the same on a terminal, in a pipe and in the documentation
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
for part in (
    account,
    link,
    up,
    deploy,
    deployments,
    status,
    logs,
    events,
    explain,
    variables,
    config,
    running,
    project,
    environment,
    service,
    host,
):
    part.register(app)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        output.say(f"trackside {version.VERSION}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


@app.callback()
def trackside(version: Version = False) -> None:
    """Trackside: from a repository to a live URL.

    TRACKSIDE_API_URL and TRACKSIDE_TOKEN say which platform and as whom; else the platform of this machine
    (TRACKSIDE_HOME), else the last `trackside login`.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own unless given); the exit code."""
    output.prepare()
    try:
        app(args=arguments, prog_name="trackside")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except CommandError as error:
        return _failed(error)
    except KeyError as error:
        return _failed(UnexpectedAnswer(f"The platform's answer lacks {error}.", hint=VERSIONS_HINT))
    except UnicodeEncodeError:
        return _failed(UsageError("An argument is not UTF-8 text.", hint="Check names and values for odd bytes."))
    return ExitCode.OK


def _failed(error: CommandError) -> int:
    output.problem(error)
    return error.exit_code


def main() -> None:
    """The entry point of the installed script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
