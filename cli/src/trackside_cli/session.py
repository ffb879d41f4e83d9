"""Where the command line gets its API address and token from, and where a directory's link lives.

Address: `TRACKSIDE_API_URL`, else the platform of this machine (`$TRACKSIDE_HOME/cli.json`, written when it starts),
else the last `trackside login`. Token: `TRACKSIDE_TOKEN`, else the one saved for that address. A link never chooses the
address: a directory that somebody else made must not decide where a token is sent.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from trackside_cli.errors import FileError, NotSignedIn, UsageError

LINK_FILE = ".trackside.json"
LOCAL_FILE = "cli.json"
SIGN_IN_HINT = (
    "Sign in with `trackside login --token TOKEN`; "
    "`trackside server token --name NAME` on the platform's machine makes a token."
)


@dataclass(frozen=True)
class Session:
    """Which API is talked to and as whom; `origin` says where the address comes from."""

    api_url: str
    token: str | None
    origin: str


@dataclass(frozen=True)
class Link:
    """What a directory belongs to: ids, and the names people read. It holds for one API address only."""

    api_url: str
    project_id: str
    project: str
    environment_id: str
    environment: str
    service_id: str | None = None
    service: str | None = None


@dataclass(frozen=True)
class Logins:
    """What is saved: the token of each address, and the address signed in to last."""

    api_url: str | None
    tokens: dict[str, str] = field(repr=False)


def variable(name: str) -> str | None:
    """An environment variable; None where it is not set or empty."""
    return os.environ.get(name) or None


def normalized(api_url: str) -> str:
    """The address in one spelling, so that it can be a key. Raises `UsageError` for what is no http(s) address."""
    parts = _parts(api_url.strip())
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise UsageError(
            f"“{api_url}” is not an address of an API.", hint="Write it like https://trackside.example.com."
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/').removesuffix('/v1')}"


def _parts(text: str) -> SplitResult | None:
    """The parts of an address; None where it has none, or a port that can't be."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    return parts if text.isprintable() and " " not in text else None


def here() -> Path:
    """The present directory. Raises `FileError` where it was removed meanwhile."""
    try:
        return Path.cwd()
    except OSError as error:
        raise FileError("The present directory is gone.", hint="Change to another one: `cd`.") from error


def resolve(api_url: str | None = None) -> Session:
    """The session that holds now, at `api_url` where one is named. Raises `NotSignedIn` where no address is known."""
    logins = _logins()
    found, origin = _address(api_url, logins)
    token = variable("TRACKSIDE_TOKEN") or logins.tokens.get(found)
    return Session(found, token, origin)


def _address(api_url: str | None, logins: Logins) -> tuple[str, str]:
    if api_url:
        return normalized(api_url), "--api-url"
    if set_address := variable("TRACKSIDE_API_URL"):
        return normalized(set_address), "TRACKSIDE_API_URL"
    if local := _local_platform():
        return local, "TRACKSIDE_HOME"
    if saved := logins.api_url:
        return saved, "login"
    raise NotSignedIn(
        "No platform is known yet.",
        hint="Start one with `make demo`, or sign in: `trackside login --api-url https://… --token TOKEN`.",
    )


def _local_platform() -> str | None:
    home = variable("TRACKSIDE_HOME")
    if home is None:
        return None
    api_url = _read(Path(home) / LOCAL_FILE).get("api_url")
    return normalized(api_url) if isinstance(api_url, str) else None


# --- saved logins ---


def logins_file() -> Path:
    import platformdirs  # takes 10 ms: not at every start

    return platformdirs.user_config_path("trackside") / "logins.json"


def save_login(api_url: str, token: str) -> Path:
    """Keep the token for this address, readable by this user only, and make the address the default one."""
    _write_logins(Logins(api_url, {**_logins().tokens, api_url: token}))
    return logins_file()


def forget_login(api_url: str) -> bool:
    """Forget the token of this address; False where none was saved."""
    logins = _logins()
    if api_url not in logins.tokens:
        return False
    kept = {address: token for address, token in logins.tokens.items() if address != api_url}
    _write_logins(Logins(logins.api_url if logins.api_url != api_url else None, kept))
    return True


def _logins() -> Logins:
    found = _read(logins_file())
    api_url, tokens = found.get("api_url"), found.get("tokens")
    kept = cast(dict[str, Any], tokens) if isinstance(tokens, dict) else {}
    return Logins(
        api_url if isinstance(api_url, str) else None,
        {address: token for address, token in kept.items() if isinstance(token, str)},
    )


def _write_logins(logins: Logins) -> None:
    path = logins_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, json.dumps(asdict(logins), indent=2) + "\n", mode=0o600)
    except OSError as error:
        raise FileError(
            f"The login can't be saved in {path}: {error.strerror}.",
            hint="Set TRACKSIDE_API_URL and TRACKSIDE_TOKEN instead.",
        ) from error


# --- links ---


def save_link(directory: Path, link: Link) -> Path:
    path = directory / LINK_FILE
    try:
        _replace(path, json.dumps(asdict(link), indent=2) + "\n", mode=0o644)
    except OSError as error:
        raise FileError(f"The link can't be written to {path}: {error.strerror}.") from error
    return path


def find_link(start: Path, api_url: str) -> Link | None:
    """The link of this directory or of the nearest one above it, where it belongs to this API address."""
    for directory in (start, *start.parents):
        path = directory / LINK_FILE
        if path.is_file():
            link = _link(path)
            return link if link.api_url == api_url else None
    return None


def _link(path: Path) -> Link:
    found = _read(path)
    known = {name: found.get(name) for name in Link.__dataclass_fields__}
    needed = [name for name in known if not name.startswith("service")]
    if not all(isinstance(known[name], str) for name in needed):
        raise FileError(f"{path} is not a link.", hint="Delete it, or write it anew with `trackside link`.")
    return Link(**cast(dict[str, Any], known))


# --- files ---


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no file."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FileError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise FileError(f"{path} is damaged: it is not a JSON object.", hint="Delete it and sign in or link again.")
    return cast(dict[str, Any], found)


def _replace(path: Path, text: str, *, mode: int) -> None:
    """Write whole or not at all; the file never exists with wider rights than `mode`."""
    import tempfile  # takes 5 ms: only where something is written

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def sign_in_needed(session: Session) -> NotSignedIn:
    return NotSignedIn(f"You are not signed in to {session.api_url}.", hint=SIGN_IN_HINT)
