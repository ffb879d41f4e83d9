"""What the doors of rooms share of HTTP: answers that go on."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
from litestar.response import Stream

NDJSON = "application/x-ndjson"


def one_per_line(found: AsyncGenerator[object]) -> Stream:
    """Each thing as a line of JSON, as it comes; None, a sign of life, as a blank line. Closed when the client goes."""

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(found) as things:
            async for thing in things:
                yield b"\n" if thing is None else msgspec.json.encode(thing) + b"\n"

    return Stream(body(), media_type=NDJSON)
