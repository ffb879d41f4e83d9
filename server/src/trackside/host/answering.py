"""Asks the parts that others stand on whether they answer: one question each, in the language of its socket.

A process may live and do nothing any more (stopped, deadlocked): the supervisor sees it run. The standard library only, for
the watchdog is small.
"""

import socket
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

PEER = struct.Struct("3i")
"""What the kernel says of who listens: pid, user, group."""


class Language(StrEnum):
    HTTP = "http"
    HTTP2 = "http2"
    POSTGRES = "postgres"


QUESTIONS = {
    Language.HTTP: b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n",
    # The client's preface with empty settings: a server answers with its own.
    Language.HTTP2: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)),
    # Whether it speaks TLS: answered before anybody signs in, also while it recovers.
    Language.POSTGRES: struct.pack("!ii", 8, 80877103),
}


@dataclass(frozen=True)
class Door:
    """Where a part answers."""

    name: str
    language: Language
    socket: str

    @classmethod
    def from_text(cls, text: str) -> "Door":
        """From `name:language:socket`."""
        name, language, path = text.split(":", 2)
        return cls(name, Language(language), path)

    def __str__(self) -> str:
        return f"{self.name}:{self.language}:{self.socket}"


@dataclass(frozen=True)
class Heard:
    """What came of asking: whether somebody listens, who (None: the kernel did not say), and whether an answer came."""

    is_there: bool
    pid: int | None = None
    is_answered: bool = False


def ask(door: Door, seconds: float) -> Heard:
    """Ask once, for at most so long."""
    pid: int | None = None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(door.socket)
            pid = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))[0] or None
            connection.sendall(QUESTIONS[door.language])
            return Heard(is_there=True, pid=pid, is_answered=bool(connection.recv(1)))
        except (TimeoutError, BlockingIOError):  # it takes no question, or has nothing to say
            return Heard(is_there=True, pid=pid)
        except OSError:  # nobody listens, or it has just ended
            return Heard(is_there=False)


def ask_all(doors: Sequence[Door], seconds: float) -> dict[Door, Heard]:
    """Ask all of them, side by side."""
    if not doors:
        return {}
    with ThreadPoolExecutor(len(doors)) as pool:
        return dict(zip(doors, pool.map(partial(ask, seconds=seconds), doors), strict=True))


def silent_parts(doors: Sequence[Door], seconds: float = 10) -> set[str]:
    """The names of those that somebody listens for, and that do not answer now."""
    return {door.name for door, heard in ask_all(doors, seconds).items() if heard.is_there and not heard.is_answered}
