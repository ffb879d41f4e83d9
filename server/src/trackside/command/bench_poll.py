"""`python -m trackside.command.bench_poll`: GET requests at a fixed rate from a process of its own, until its input ends.

Reads one line, `{"host", "port", "paths", "headers", "rate"}`; writes the seconds of every answer, or null for a failure. A late
answer is counted from when its request was due: one that had to wait for it waits too.
"""

import http.client
import json
import select
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

TIMEOUT = 30.0


def poll(order: Mapping[str, Any]) -> Sequence[float | None]:
    """Ask in turns for each path, until somebody writes to our input or closes it."""
    found: list[float | None] = []
    begin = time.monotonic()
    connection = http.client.HTTPConnection(order["host"], order["port"], timeout=TIMEOUT)
    for number in count():
        due = begin + number / order["rate"]
        if select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            return found
        try:
            connection.request("GET", order["paths"][number % len(order["paths"])], headers=order["headers"])
            answer = connection.getresponse()
            answer.read()
            found.append(time.monotonic() - due if answer.status == http.client.OK else None)
        except (OSError, http.client.HTTPException):
            connection.close()
            found.append(None)
    raise AssertionError


if __name__ == "__main__":
    sys.stdout.write(json.dumps(poll(json.loads(sys.stdin.readline()))))
