"""`python -m trackside run <process>`: what the supervisor runs."""

import asyncio
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable

from granian.constants import Interfaces
from granian.server.embed import Server

from trackside import bootstrap
from trackside.kit import failpoints, log

ANSWER_SECONDS = 15
"""How long a request waits for a database that hangs: less than most clients wait for an answer."""


def add_commands(parser: ArgumentParser) -> None:
    """The one argument of `run`."""
    parser.add_argument("process", choices=sorted(PROCESSES))
    parser.set_defaults(run=_run)


async def _gateway() -> None:
    settings = bootstrap.settings()
    server = Server(
        bootstrap.House(settings, answer_seconds=ANSWER_SECONDS).rest(),
        address=settings.api_host,
        port=settings.api_port,
        interface=Interfaces.ASGI,
        log_access=False,
    )
    try:
        await server.serve()
    finally:
        server.stop()


async def _deployer() -> None:
    await bootstrap.run_deployer()


async def _builder() -> None:
    await bootstrap.run_builder()


async def _monitor() -> None:
    await bootstrap.run_monitor()


async def _edge() -> None:
    await bootstrap.run_edge()


PROCESSES: dict[str, Callable[[], Awaitable[None]]] = {
    "gateway": _gateway,
    "deployer": _deployer,
    "builder": _builder,
    "monitor": _monitor,
    "edge": _edge,
}


def _run(arguments: Namespace) -> int:
    log.set_up(arguments.process)
    if folder := bootstrap.settings().failpoints:
        failpoints.turn_on(folder, arguments.process)
    asyncio.run(_until_told(PROCESSES[arguments.process]))
    return 0


async def _until_told(work: Callable[[], Awaitable[None]]) -> None:
    """Work until SIGTERM or SIGINT."""
    task = asyncio.ensure_future(work())
    loop = asyncio.get_running_loop()
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
