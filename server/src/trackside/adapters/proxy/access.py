"""One line of the access log: how HAProxy is told to write it, and how it is read. Pure.

Texts that a client chose go through HAProxy's `json` converter. Numbers that HAProxy pads with zeros are no JSON
numbers, except after the seconds. The query is left out of the path: it may carry secrets.
"""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from trackside.rooms.networking.model import Access


def _text(variable: str) -> str:
    return f'"%[var(txn.{variable}),json(utf8ps)]"'


LOG_FORMAT = (
    '{"at":%Ts%ms,"id":'
    + _text("request_id")
    + ',"instance":"%[var(txn.instance)]","deployment":"%[var(txn.deployment)]",'
    '"server":"%s","method":' + _text("method") + ',"host":' + _text("host") + ',"path":' + _text("path") + ","
    '"status":%ST,"total":%Ta,"upstream":%Tr,"sent":%B,"received":%U,"client":"%ci","agent":' + _text("agent") + ","
    '"ended":"%ts"}'
)


class Line(msgspec.Struct):
    """A line as HAProxy writes it."""

    at: int  # milliseconds since 1970
    id: str
    instance: str
    deployment: str
    server: str
    method: str
    host: str
    path: str
    status: int
    total: int
    upstream: int
    sent: int
    received: int
    client: str
    agent: str
    ended: str


_decoder = msgspec.json.Decoder(Line)


def read_line(line: bytes) -> Access | None:
    """The values of a line; None where it is none of ours."""
    try:
        seen = _decoder.decode(line)
    except msgspec.MsgspecError:
        return None
    return Access(
        at=datetime.fromtimestamp(seen.at / 1000, UTC),
        service_instance_id=_id(seen.instance),
        deployment_id=_id(seen.deployment),
        replica_id=_id(seen.server),
        request_id=seen.id,
        method=seen.method,
        host=seen.host,
        path=seen.path,
        status=max(seen.status, 0),
        total_ms=float(max(seen.total, 0)),
        upstream_ms=float(max(seen.upstream, 0)),
        bytes_sent=seen.sent,
        bytes_received=seen.received,
        client=seen.client,
        user_agent=seen.agent,
        ended=seen.ended,
    )


def _id(text: str) -> UUID | None:
    """HAProxy writes `-` or `<NOSRV>` where there is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
