"""`deploy`: a git repository or an image becomes a deployment."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from trackside_cli import scope, session, watch
from trackside_cli.commands.flags import Flags, Going, Json, signed_in, takes_flags, target
from trackside_cli.errors import FileError, UsageError


def _flag(*names: str, metavar: str, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, show_default=False)


@dataclass(frozen=True)
class SourceFlags:
    """Where the app comes from. Secrets are never arguments: other users of a machine can read those."""

    repo: Annotated[str | None, _flag("--repo", metavar="URL", help="Git repository, https or ssh.")] = None
    ref: Annotated[str | None, _flag("--ref", metavar="R", help="Branch, tag or commit; else the default branch.")] = (
        None
    )
    path: Annotated[str | None, _flag("--path", metavar="SUB", help="Sub-directory of the repository to build.")] = None
    token_env: Annotated[
        str | None, _flag("--token-env", metavar="VAR", help="Environment variable with the token for https.")
    ] = None
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the token for https from stdin.")] = False
    key_file: Annotated[Path | None, _flag("--key-file", metavar="FILE", help="Private deploy key for ssh.")] = None
    known_host: Annotated[
        str | None, _flag("--known-host", metavar="LINE", help="The ssh host's key, as a line of known_hosts.")
    ] = None
    image: Annotated[str | None, _flag("--image", metavar="IMG", help="An existing image instead of a repository.")] = (
        None
    )

    def source(self) -> dict[str, Any] | None:
        """The source for the API; None where nothing was named, which means the one configured before."""
        about_git = (self.ref, self.path, self.token_env, self.key_file, self.known_host, self.token_stdin or None)
        if self.repo and self.image:
            raise UsageError("Name a repository or an image, not both.", hint="Leave out --repo or --image.")
        if not self.repo and any(one is not None for one in about_git):
            raise UsageError("This flag is about a repository, and none is named.", hint="Add --repo URL.")
        if self.image:
            return {"kind": "image", "reference": self.image}
        return self._git(self.repo) if self.repo else None

    def _git(self, url: str) -> dict[str, Any]:
        if _carries_secret(url):
            raise UsageError(
                "The URL carries a password or token.",
                hint="Leave it out and give it with --token-env or --token-stdin.",
            )
        if self.token_env and self.token_stdin:
            raise UsageError("The token can come from one place only.", hint="Leave out --token-env or --token-stdin.")
        named = {
            "reference": self.ref,
            "directory": self.path,
            "token": self._token(),
            "private_key": _text_of(self.key_file) if self.key_file else None,
            "known_host": self.known_host,
        }
        return {"kind": "git", "url": url, **{name: value for name, value in named.items() if value is not None}}

    def _token(self) -> str | None:
        if self.token_stdin:
            return _given(sys.stdin.readline().strip(), "stdin")
        if self.token_env:
            return _given(session.variable(self.token_env) or "", self.token_env)
        return None


def _carries_secret(url: str) -> bool:
    """Whether there is a password in it, or a user where forges take a token for one."""
    parts = urlsplit(url)
    return parts.password is not None or (parts.scheme in ("http", "https") and bool(parts.username))


def _given(token: str, origin: str) -> str:
    if not token:
        raise UsageError(f"There is no token in {origin}.")
    return token


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise FileError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError:
        raise FileError(
            f"{path} is not a private key in text form.", hint="Make one with `ssh-keygen -t ed25519`."
        ) from None


@takes_flags
def deploy(flags: Flags, sources: SourceFlags, going: Going, as_json: Json = False) -> None:
    """Deploy a git repository or an image.

    Without --repo and --image the source is the one deployed before. Makes the service where --service names a new
    one, and what is missing where nothing is there yet. Waits until the app serves, then prints its URL.
    """
    source = sources.source()
    with signed_in() as connection:
        if source is None:
            instance = target(connection, flags)
        else:
            default = scope.named_after(sources.repo or sources.image or "")
            wanted = flags.wanted(connection.api_url)
            goal = scope.ensure_target(connection.api, wanted, default)
            instance = goal.instance
            watch.announce(goal, quiet=as_json, guess=scope.guess_of(wanted))
        deployment = connection.api.deploy(instance["id"], source, is_urgent=going.urgent)
        raise typer.Exit(watch.finish(connection.api, deployment, is_detached=going.detach, as_json=as_json))


def register(app: typer.Typer) -> None:
    app.command()(deploy)
