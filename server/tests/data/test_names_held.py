"""Leases: a name has one holder, and who waits for it says so."""

import asyncio

from structlog.testing import capture_logs

from conftest import Platform
from trackside.kit.leases import open_leases


async def test_who_waits_long_for_a_name_tells_it_and_has_it_once_it_is_given_up(platform: Platform) -> None:
    async with open_leases(platform.database.url) as first, open_leases(platform.database.url, patience=0.05) as second:
        await first.take("name")
        with capture_logs() as logged:
            waiting = asyncio.create_task(second.take("name"))
            async with asyncio.timeout(20):
                while len(logged) < 2:
                    await asyncio.sleep(0.01)
        assert {one["lease"] for one in logged} == {"name"}
        await first.give_up("name")
        await waiting
        assert not await first.try_take("name")
