"""`python -m trackside.command.bench_poll`: GET requests at a fixed rate from a process of its own, until its input ends.

Reads one line, `{"host", "port", "paths", "headers", "rate"}`; writes the seconds of every answer, or null for a failure. They come
as those of many people do: none waits for another's answer, unless there are as many under way as there are connections. Each is
counted from when it was due.
"""

import http.client
import json
import select
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

TIMEOUT = 30.0
CONNECTIONS = 32


class Client:
    """Asks, over a connection for each thread."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._own = threading.local()

    def ask(self, path: str, due: float) -> float | None:
        """Seconds from `due` (monotonic) until the whole answer was there; None where it was no good one."""
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._order["host"], self._order["port"], timeout=TIMEOUT)
            self._own.connection = connection
        try:
            connection.request("GET", path, headers=self._order["headers"])
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return None
        return time.monotonic() - due if answer.status == http.client.OK else None


def poll(order: Mapping[str, Any]) -> Sequence[float | None]:
    """Ask in turns for each path, until somebody writes to our input or closes it."""
    client, paths, begin = Client(order), order["paths"], time.monotonic()
    answers: list[Future[float | None]] = []
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for number in count():
            due = begin + number / order["rate"]
            if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
                break
            answers.append(pool.submit(client.ask, paths[number % len(paths)], due))
    return [answer.result() for answer in answers]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(poll(json.loads(sys.stdin.readline()))))
