"""Waiting for news of a service instance: alone, in a crowd, and nudged."""

import asyncio
from contextlib import ExitStack

from trackside.entry.worker.nudges import AT_EASE, Nudges
from trackside.kit.ids import new_id

LITTLE = 0.05


async def time_of_a_wait(nudges: Nudges) -> float:
    loop = asyncio.get_running_loop()
    with nudges.attend(new_id()) as attention:
        began = loop.time()
        await attention.wait(LITTLE)
        return loop.time() - began


async def test_in_a_crowd_everybody_looks_less_often() -> None:
    nudges = Nudges()
    with ExitStack() as crowd:
        for _ in range(AT_EASE * 4 - 1):
            crowd.enter_context(nudges.attend(new_id()))
        assert await time_of_a_wait(nudges) >= LITTLE * 4


async def test_a_nudge_ends_a_wait_at_once_in_a_crowd_too() -> None:
    nudges, subject = Nudges(), new_id()
    with ExitStack() as crowd:
        for _ in range(AT_EASE * 1000):
            crowd.enter_context(nudges.attend(new_id()))
        attention = crowd.enter_context(nudges.attend(subject))
        waiting = asyncio.ensure_future(attention.wait(LITTLE))
        await asyncio.sleep(0)
        assert nudges.nudge(subject)
        async with asyncio.timeout(LITTLE * 100):
            await waiting


async def test_a_nudge_that_comes_while_nobody_sleeps_is_taken_once() -> None:
    nudges, subject = Nudges(), new_id()
    with nudges.attend(subject) as attention:
        assert not attention.take()
        assert nudges.nudge(subject)
        assert attention.take()
        assert not attention.take()
    assert not nudges.nudge(subject)
