"""`python -m trackside demo`: deploys the example out of this checkout's git repository, and says how to go on.

It uses the command line as a new user would. A checkout whose repository lies elsewhere (a git worktree) or that has none (an
archive) is deployed by upload: the platform fetches no repository that leads out of the directories it may read.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trackside import bootstrap
from trackside.command import tokens
from trackside.command.printing import say
from trackside.kit.errors import Kind, TracksideError

EXAMPLE = "examples/01-datasette"
PROJECT, SERVICE = "demo", "datasette"


class DemoFailed(TracksideError):
    code = "command.demo_failed"
    kind = Kind.UNAVAILABLE
    hint = "Look at what runs: `bin/trackside server status`, and at the build: `bin/trackside logs --build --service datasette`."


def add_commands(parser: ArgumentParser) -> None:
    """No arguments."""
    parser.set_defaults(run=_run)


def _run(_: Namespace) -> int:
    settings = bootstrap.settings()
    environment = {**bootstrap.given(), "TRACKSIDE_API_URL": settings.api_url}
    token = environment["TRACKSIDE_TOKEN"] = _token(settings.home, environment)
    url = _served(environment)
    if url:
        say(f"The example is deployed already: {url}")
    else:
        url = _deploy(environment, bootstrap.CHECKOUT)
    _wait_for(url)
    _explain(settings, url, token)
    return 0


NOT_SIGNED_IN = 3
"""How the command line ends where a token is not accepted; with anything else the token may be as good as ever."""


def _token(home: Path, environment: dict[str, str]) -> str:
    """The token of the demo: made once, kept where only its owner reads it, and made anew where it was revoked."""
    file = home / "keys" / "demo-token"
    if file.exists():
        kept = file.read_text().strip()
        if _cli(environment | {"TRACKSIDE_TOKEN": kept}, "whoami")[0] != NOT_SIGNED_IN:
            return kept
    token = asyncio.run(tokens.create("demo")).text
    file.touch(0o600)
    file.write_text(token + "\n")
    return token


def _cli(environment: dict[str, str], *arguments: str, show: bool = False) -> tuple[int, str]:
    command = [sys.executable, "-m", "trackside_cli.main", *arguments]
    outcome = subprocess.run(
        command,
        env=environment,
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.DEVNULL,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return outcome.returncode, outcome.stdout or ""


def _served(environment: dict[str, str]) -> str | None:
    """The example's URL where it serves."""
    code, output = _cli(environment, "status", "--json", "--project", PROJECT)
    if code != 0:
        return None
    for instance in _instances(json.loads(output)):
        active = instance["active_deployment"]
        if instance["service_name"] == SERVICE and active and active["status"] == "SUCCESS":
            return str(instance["url"])
    return None


def _instances(status: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = status
    return [i for project in found for e in project["environments"] for i in e["service_instances"]]


def _deploy(environment: dict[str, str], checkout: Path) -> str:
    if has_its_own_repository(checkout):
        say(f"Deploying {EXAMPLE} from the git repository {checkout} …")
        command = ("deploy", "--repo", f"file://{checkout}", "--path", EXAMPLE)
    else:
        say(f"{checkout} is a git worktree, or has no repository of its own, so {EXAMPLE} is uploaded …")
        command = ("up", str(checkout / EXAMPLE))
    code, _ = _cli(environment, *command, *("--project", PROJECT, "--service", SERVICE), show=True)
    url = _served(environment) if code == 0 else None
    if url is None:
        raise DemoFailed("The example could not be deployed.")
    return url


def has_its_own_repository(checkout: Path) -> bool:
    """Whether all of its git data is in it; in a worktree, and in a clone that borrows objects, part of it is elsewhere."""
    store = checkout / ".git"
    borrows = (store / "commondir", store / "objects" / "info" / "alternates")
    return store.is_dir() and not store.is_symlink() and not any(file.exists() for file in borrows)


def _wait_for(url: str) -> None:
    """The URL answers: asked of the edge itself, by name."""
    parts = urlsplit(url)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if _answers(parts.hostname or "", parts.port or 80):
            return
        time.sleep(0.2)  # noqa: TID251 — nobody tells us; the edge is asked again
    raise DemoFailed(f"{url} does not answer.")


def _answers(host: str, port: int) -> bool:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(request.encode())
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def _explain(settings: Any, url: str, token: str) -> None:
    host = urlsplit(url).hostname
    address = _own_address()
    say()
    say("Trackside runs, and the example serves.")
    say()
    say(f"  The app         {url}")
    say(f"  The API         {settings.api_url}/v1   (reference: {settings.api_url}/v1/schema)")
    say(f"  Sign in         bin/trackside login --token {token}")
    say("  Another token   bin/trackside server token --name me")
    say("  Look around     bin/trackside status    bin/trackside logs -f --project demo --service datasette")
    say("  Deploy yours    cd your-app && /path/to/bin/trackside up")
    say("  From another computer")
    say(f"                  the app: add `{address} {host}` to its hosts file, then open {url}")
    say(f"                  the API: ssh -L {settings.api_port}:127.0.0.1:{settings.api_port} {socket.gethostname()}")
    say("  Stop            make stop   (the next `make demo` serves your deployments again)")


def _own_address() -> str:
    """The address by which this machine reaches others (nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
