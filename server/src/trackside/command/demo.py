"""`python -m trackside demo`: deploys the example out of this checkout's git repository, and says how to go on.

It uses the command line as a new user would.
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

from trackside import bootstrap
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
    token = _token(settings.home)
    checkout = bootstrap.CHECKOUT
    environment = {**bootstrap.given(), "TRACKSIDE_API_URL": settings.api_url, "TRACKSIDE_TOKEN": token}
    url = _served(environment)
    if url:
        say(f"The example is deployed already: {url}")
    else:
        say(f"Deploying {EXAMPLE} from the git repository {checkout} …")
        url = _deploy(environment, checkout)
    _wait_for(url)
    _explain(settings, url, token)
    return 0


def _token(home: Path) -> str:
    """The token of the demo: made once, kept where only its owner reads it."""
    file = home / "keys" / "demo-token"
    if file.exists():
        return file.read_text().strip()
    token = asyncio.run(bootstrap.create_token("demo"))
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
    code, _ = _cli(
        environment,
        "deploy",
        *("--repo", f"file://{checkout}", "--path", EXAMPLE),
        *("--project", PROJECT, "--service", SERVICE),
        show=True,
    )
    url = _served(environment) if code == 0 else None
    if url is None:
        raise DemoFailed("The example could not be deployed.")
    return url


def _wait_for(url: str) -> None:
    """The URL answers: asked of the edge itself, by name."""
    host, port = url.removeprefix("http://").split(":")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if _answers(host, int(port)):
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
    host = url.removeprefix("http://").split(":")[0]
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
