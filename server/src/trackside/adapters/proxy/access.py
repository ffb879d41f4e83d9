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
    """The values of a line; None where it is none of ours."""
    try:
        at, instance, deployment, server, method, path, *numbers, client, ended, captured = line.decode(
            errors="replace"
        ).split("\t")
        status, total, upstream, sent, received = map(int, numbers)
        request_id, host, agent = captured[1:-1].split("|") if captured else ("", "", "")
        seen = datetime.fromtimestamp(int(at) / 1000, UTC)
    except (ValueError, OverflowError):
        return None
    return Access(
        seen,
        _id(instance),
        _id(deployment),
        _id(server),
        _text(request_id),
        _text(method).removeprefix(_BAD),
        _text(host),
        _text(path).removeprefix(_BAD)[:LONGEST_PATH],
        max(status, 0),
        float(max(total, 0)),
        float(max(upstream, 0)),
        sent,
        received,
        client,
        _text(agent),
        ended,
    )


def _text(field: str) -> str:
    return _ENCODED.sub(_decoded, field) if "#" in field else field


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
