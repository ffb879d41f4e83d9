"""An engine that dies in the middle of something says nothing of the build: it is done again when the engine is back."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from builds.engines import TestEngine
from contracts.builder import START, Lines, MakeOrder
from trackside.adapters.buildkit.builder import BuildKitBuilder
from trackside.rooms.builds.errors import EngineAway, EngineLost

pytestmark = pytest.mark.timeout(600)
LARGE = 150
"""Megabytes that no compression makes small: moving them takes a while."""


class KillingLog(Lines):
    """A build log that kills somebody as soon as it reads some words."""

    def __init__(self, words: str, kill: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._words = words
        self._kill = kill
        self.killing: asyncio.Future[None] | None = None

    async def __call__(self, line: str) -> None:
        await super().__call__(line)
        if self._words in line and not self.killing:
            self.killing = asyncio.ensure_future(self._kill())


def killing(engine: TestEngine, after: float = 0.0) -> Callable[[], Awaitable[None]]:
    async def kill() -> None:
        await asyncio.sleep(after)
        await asyncio.to_thread(engine.kill)

    return kill


@asynccontextmanager
async def running_again(engine: TestEngine, log: KillingLog) -> AsyncGenerator[None]:
    """The engine runs again afterwards, once it was killed."""
    try:
        yield
    finally:
        if log.killing:
            await log.killing
            await asyncio.to_thread(engine.start)


async def test_a_build_whose_engine_is_killed_in_a_step_has_not_failed(
    docker_builder: BuildKitBuilder, order: MakeOrder, build_engine: TestEngine
) -> None:
    log = KillingLog("42 of", killing(build_engine))
    async with running_again(build_engine, log):
        with pytest.raises(EngineLost):
            await docker_builder.build(order(f"{START}RUN echo $((40 + 2)) of {uuid4()}; sleep 60\n"), log)
    again = order(f"{START}RUN echo {uuid4()}\n")
    assert await docker_builder.build(again, Lines()), "it builds when it is back"


@pytest.mark.parametrize("victim", ["build_engine", "app_engine"])
async def test_an_image_is_not_lost_when_an_engine_is_killed_as_it_is_moved(
    docker_builder: BuildKitBuilder, order: MakeOrder, request: pytest.FixtureRequest, victim: str
) -> None:
    engine: TestEngine = request.getfixturevalue(victim)
    made = order(f"{START}RUN head -c {LARGE}M /dev/urandom > /{uuid4().hex}\n")
    image_id = await docker_builder.build(made, Lines())
    log = KillingLog("Publishing the image", killing(engine, after=0.5))
    async with running_again(engine, log):
        with pytest.raises(EngineAway):
            await docker_builder.publish(image_id, {}, log)
    assert (await docker_builder.publish(image_id, {}, Lines())).id == image_id
