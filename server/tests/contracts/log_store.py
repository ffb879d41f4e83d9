"""What every log store does: the suite of the port `LogStore`. A subclass gives the fixture `store`."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from trackside.rooms.telemetry.model import Line, LogKind, Stream
from trackside.rooms.telemetry.ports import LogStore

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LONGEST = 64 << 10


def a_stream(kind: LogKind = LogKind.DEPLOY) -> Stream:
    return Stream(uuid4(), kind, uuid4())


def lines(count: int, first: int = 0, replica_id: UUID | None = None) -> list[Line]:
    """Lines one second apart, the message their number."""
    return [
        Line(START + timedelta(seconds=number), str(number), replica_id=replica_id)
        for number in range(first, first + count)
    ]


async def messages(store: LogStore, stream: Stream, **query: object) -> list[str]:
    return [line.message for line in await store.read(stream, **query)]  # type: ignore[arg-type]


class LogStoreContract:
    async def test_lines_come_back_as_they_were_given(self, store: LogStore) -> None:
        stream, replica_id = a_stream(), uuid4()
        awkward = 'tab\t quote" back\\slash nul\0 snow☃ \U0001f600 \x1b[31mred\x1b[0m'
        given = [
            Line(START, awkward, "error", replica_id, {"replica": str(uuid4()), "ключ": "v\nw", "": ""}),
            Line(START, ""),
            Line(START - timedelta(days=1), '"seq":7,"replica":"x"', "debug"),
        ]
        await store.append(stream, given)
        back = await store.read(stream)
        assert [(x.at, x.message, x.level, x.replica_id, x.attributes) for x in back] == [
            (x.at, x.message, x.level, x.replica_id, x.attributes) for x in given
        ]
        assert [line.seq for line in back] == [1, 2, 3]

    async def test_numbers_go_on_over_batches(self, store: LogStore) -> None:
        stream = a_stream()
        for first in range(0, 30, 10):
            await store.append(stream, lines(10, first))
        assert [line.seq for line in await store.read(stream)] == list(range(1, 31))

    async def test_an_empty_batch_changes_nothing(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, [])
        assert list(await store.read(stream)) == []

    async def test_streams_are_apart(self, store: LogStore) -> None:
        one = a_stream()
        others = [Stream(one.workspace_id, LogKind.BUILD, one.owner), Stream(uuid4(), one.kind, one.owner), a_stream()]
        await store.append(one, lines(3))
        for other in others:
            assert list(await store.read(other)) == []

    async def test_first_and_newest_lines_are_read_ascending_within_the_limit(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, lines(100))
        assert await messages(store, stream, limit=3) == ["0", "1", "2"]
        assert await messages(store, stream, limit=3, newest=True) == ["97", "98", "99"]
        assert await messages(store, stream, after=97) == ["97", "98", "99"]
        assert await messages(store, stream, after=50, limit=2) == ["50", "51"]
        assert await messages(store, stream, after=98, limit=9, newest=True) == ["98", "99"]
        assert await messages(store, stream, after=100) == []
        assert await messages(store, stream, limit=0, newest=True) == []

    async def test_times_bound_what_is_read_both_included(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, lines(100))
        ten, twenty = START + timedelta(seconds=10), START + timedelta(seconds=20)
        expected = [str(number) for number in range(10, 21)]
        assert await messages(store, stream, since=ten, until=twenty) == expected
        assert await messages(store, stream, since=ten, until=twenty, newest=True, limit=2) == ["19", "20"]
        assert await messages(store, stream, since=ten, until=twenty, after=15) == expected[5:]

    async def test_a_late_line_is_found_by_its_own_time(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, lines(10, 100))
        await store.append(stream, lines(1, 5))
        assert await messages(store, stream, until=START + timedelta(seconds=50)) == ["5"]

    async def test_long_lines_are_cut_with_a_mark(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, [Line(START, "x" * LONGEST), Line(START, "☃" * LONGEST)])
        whole, cut = await messages(store, stream)
        assert whole == "x" * LONGEST
        assert cut.startswith("☃" * (LONGEST // 3))
        assert len(cut) < LONGEST // 3 + 60
        assert cut.endswith(f"(cut: the line had {3 * LONGEST} bytes)")

    async def test_half_a_surrogate_pair_is_replaced_not_refused(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, [Line(START, "a\ud800b")])
        assert await messages(store, stream) == ["a?b"]

    async def test_followers_get_what_is_there_and_what_comes(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, lines(5))
        got: list[int] = []
        enough = asyncio.Event()

        async def follow() -> None:
            async for line in store.follow(stream, after=2):
                got.append(line.seq)
                if line.seq == 10:
                    enough.set()

        following = asyncio.create_task(follow())
        for number in range(5, 10):
            await store.append(stream, lines(1, number))
        async with asyncio.timeout(10):
            await enough.wait()
        following.cancel()
        assert got == list(range(3, 11))

    async def test_a_stream_can_be_followed_before_its_first_line(self, store: LogStore) -> None:
        stream = a_stream()
        first = asyncio.ensure_future(anext(aiter(store.follow(stream))))
        await store.read(stream)
        await store.append(stream, lines(1))
        async with asyncio.timeout(10):
            assert (await first).message == "0"

    async def test_a_follower_of_what_was_swept_goes_on_with_what_comes(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, lines(3))
        assert await store.sweep(datetime.now(UTC) + timedelta(days=400)) > 0
        first = asyncio.ensure_future(anext(store.follow(stream)))
        await store.read(stream)
        await store.append(stream, lines(1, 3))
        async with asyncio.timeout(10):
            assert (await first).seq == 4

    async def test_a_follower_that_is_closed_has_ended(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, lines(2))
        following = store.follow(stream)
        assert (await anext(following)).seq == 1
        await following.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(following)

    async def test_the_last_time_of_a_replica_is_known(self, store: LogStore) -> None:
        stream, one, other = a_stream(), uuid4(), uuid4()
        assert await store.last_at(stream, one) is None
        await store.append(stream, lines(3, 0, one) + lines(50, 10, other))
        await store.append(stream, [Line(START, "x", attributes={"replica": str(one)})])
        assert await store.last_at(stream, one) == START + timedelta(seconds=2)
        assert await store.last_at(stream, other) == START + timedelta(seconds=59)
        assert await store.last_at(stream, uuid4()) is None

    async def test_a_dropped_stream_is_empty_and_can_begin_anew(self, store: LogStore) -> None:
        stream = a_stream()
        await store.append(stream, lines(3))
        await store.drop(stream)
        await store.drop(stream)
        assert list(await store.read(stream)) == []
        await store.append(stream, lines(1))
        assert await messages(store, stream) == ["0"]

    async def test_the_streams_of_a_workspace_are_known_until_they_are_dropped(self, store: LogStore) -> None:
        one = a_stream()
        other = Stream(one.workspace_id, LogKind.BUILD, uuid4())
        for stream in (one, other, a_stream()):
            await store.append(stream, lines(1))
        assert set(await store.streams(one.workspace_id)) == {one, other}
        await store.drop(one)
        assert list(await store.streams(one.workspace_id)) == [other]
        assert list(await store.streams(uuid4())) == []

    async def test_a_sweep_keeps_young_lines_and_their_numbers(self, store: LogStore) -> None:
        stream = a_stream()
        now = datetime.now(UTC)
        await store.append(stream, [Line(now, "young")])
        assert await store.sweep(now) == 0
        assert await store.sweep(now, is_trial=True) == 0
        assert await messages(store, stream) == ["young"]
        later = now + timedelta(days=400)
        assert await store.sweep(later, is_trial=True) > 0
        assert await store.read(stream), "a trial dropped lines"
        assert await store.sweep(later) > 0
        assert list(await store.read(stream)) == []
        await store.append(stream, [Line(now, "later")])
        assert [(line.seq, line.message) for line in await store.read(stream)] == [(2, "later")]

    async def test_many_writers_at_once_lose_and_mix_nothing(self, store: LogStore) -> None:
        stream, writers = a_stream(), [uuid4() for _ in range(8)]

        async def write(replica_id: UUID) -> None:
            for first in range(0, 100, 10):
                await store.append(stream, lines(10, first, replica_id))

        await asyncio.gather(*map(write, writers))
        back = await store.read(stream, limit=10_000)
        assert [line.seq for line in back] == list(range(1, 801))
        for replica_id in writers:
            assert [line.message for line in back if line.replica_id == replica_id] == [str(n) for n in range(100)]
