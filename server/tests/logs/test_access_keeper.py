"""Access lines are stored once each, also where one of their streams can't be written for a while."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from logs.accesses import an_access, paths
from trackside.adapters.memory.logs import MemoryLogStore
from trackside.rooms.telemetry.errors import LogsUnavailable
from trackside.rooms.telemetry.model import Line, Stream
from trackside.rooms.telemetry.service import AccessKeeper

WORKSPACE = uuid4()


class Refusing(MemoryLogStore):
    """A store that can't write one owner's stream for now."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: UUID | None = None

    async def append(self, stream: Stream, lines: Sequence[Line]) -> None:
        if stream.owner == self.refused:
            raise LogsUnavailable("The disk refuses.")
        await super().append(stream, lines)


async def test_a_stream_that_can_t_be_written_doubles_no_line_of_the_others() -> None:
    store, first, second = Refusing(), uuid4(), uuid4()
    keeper, owners = AccessKeeper(store), {first: WORKSPACE, second: WORKSPACE}
    batch = [an_access(first, "/1"), an_access(second, "/2")]
    store.refused = second
    for _ in range(3):
        with pytest.raises(LogsUnavailable):
            await keeper.keep(batch, owners)
    store.refused = None
    await keeper.keep([*batch, an_access(first, "/3")], owners)
    await keeper.keep([an_access(first, "/4")], owners)
    assert await paths(store, WORKSPACE, first) == ["/1", "/3", "/4"]
    assert await paths(store, WORKSPACE, second) == ["/2"]
