"""One line of the access log: how HAProxy is told to write it, and how it is read. Pure.

Fields are separated by tabs. In texts that a client chose HAProxy writes `#XX` for tabs, line ends and whatever else could be
taken for something else: converters to JSON, field by field, would cost it more than all else that the line takes. The query
is left out of the path: it may carry secrets.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from trackside.rooms.networking.model import Access

LONGEST_PATH = 1024
LONGEST_REQUEST_LINE = LONGEST_PATH + 32
CAPTURES = (
    ("req.fhdr(x-request-id)", 128),
    ("req.hdr(host),host_only,lower,rtrim(.)", 253),
    ("req.fhdr(user-agent)", 256),
)
"""What is kept of each request (an expression, and how many bytes of it), in the order in which the line has it."""
REQUEST_ID_CAPTURED, HOST_CAPTURED = "capture.req.hdr(0)", "capture.req.hdr(1)"
LOG_FORMAT = "\t".join(
    (
        *("%Ts%ms", "%[var(txn.instance)]", "%[var(txn.deployment)]", "%s", "%HM", "%HPO", "%ST"),
        *("%Ta", "%Tr", "%B", "%U", "%ci", "%ts", "%hr"),
    )
)
_ENCODED = re.compile(r"(?:#[0-9A-F]{2})+")
_BAD = "<BADREQ>"
"""What HAProxy writes for the method and path of what was no HTTP."""


def read_line(line: bytes) -> Access | None:
    """The values of a line; None where it is none of ours. Each microsecond here is one of every request."""
    try:
        at, instance, deployment, server, method, path, *numbers, client, ended, captured = line.decode(
            errors="replace"
        ).split("\t")
        if not "".join(numbers).isdecimal():  # -1 stands for what did not come so far
            numbers = [str(max(int(number), 0)) for number in numbers]
        status, total, upstream, sent, received = numbers
        request_id, host, agent = captured[1:-1].split("|") if captured else ("", "", "")
        seen, code = _moment(at), int(status)
    except (ValueError, OverflowError):
        return None
    if b"#" in line:
        method, path, request_id, host, agent = map(_text, (method, path, request_id, host, agent))
    if method.startswith(_BAD):
        method, path = method.removeprefix(_BAD), path.removeprefix(_BAD)
    if len(path) > LONGEST_PATH:
        path = path[:LONGEST_PATH]
    return Access(
        seen, _id(instance), _id(deployment), _id(server), request_id, method, host, path,
        code, total, upstream, sent, received, client, agent, ended,
    )  # fmt: skip


@lru_cache(maxsize=16)  # when there are many, many are of the same millisecond
def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _text(field: str) -> str:
    return _ENCODED.sub(_decoded, field)


def _decoded(found: re.Match[str]) -> str:
    """What a run of `#XX` stands for: characters of several bytes come whole."""
    return bytes.fromhex(found[0].replace("#", "")).decode(errors="replace")


@lru_cache(maxsize=4096)  # the same few come again and again
def _id(field: str) -> UUID | None:
    """HAProxy writes `-` or `<NOSRV>` where there is none."""
    try:
        return UUID(field)
    except ValueError:
        return None
