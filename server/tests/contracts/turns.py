"""What turns do, whatever holds them: the suite of the port `Turns`. A subclass gives the fixture `turns`."""

import asyncio
from uuid import uuid4

from trackside.rooms.telemetry.ports import Turns


class TurnsContract:
    async def test_a_mark_stands_until_another_takes_over(self, turns: Turns) -> None:
        replica_id = uuid4()
        async with turns.take(replica_id) as first:
            pass
        async with turns.again(replica_id, first) as stands:
            assert stands
        async with turns.take(replica_id) as second:
            pass
        async with turns.again(replica_id, first) as stands:
            assert not stands
        async with turns.again(replica_id, second) as stands:
            assert stands

    async def test_replicas_are_apart(self, turns: Turns) -> None:
        one, other = uuid4(), uuid4()
        async with turns.take(one) as mark, turns.take(other):
            pass
        async with turns.again(one, mark) as stands:
            assert stands

    async def test_one_at_a_time_holds_a_replica(self, turns: Turns) -> None:
        replica_id, inside = uuid4(), 0

        async def hold() -> None:
            nonlocal inside
            async with turns.take(replica_id):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(hold() for _ in range(20)))

    async def test_one_collector_at_a_time(self, turns: Turns) -> None:
        entered: list[str] = []

        async def collect(name: str, until: asyncio.Event) -> None:
            async with turns.alone():
                entered.append(name)
                await until.wait()

        end_first, end_second = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(collect("first", end_first))
        async with asyncio.timeout(5):
            while not entered:
                await asyncio.sleep(0.01)
            second = asyncio.create_task(collect("second", end_second))
            await asyncio.sleep(0.1)
            assert entered == ["first"]
            end_first.set()
            end_second.set()
            await asyncio.gather(first, second)
        assert entered == ["first", "second"]

    async def test_what_is_kept_is_not_forgotten(self, turns: Turns) -> None:
        replica_id = uuid4()
        async with turns.take(replica_id) as mark:
            pass
        await turns.keep_only({replica_id})
        async with turns.again(replica_id, mark) as stands:
            assert stands
