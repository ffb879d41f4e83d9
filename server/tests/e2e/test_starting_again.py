"""The same command that started the platform changes its settings: what serves goes on serving."""

import asyncio

from e2e.conftest import Cli, Service, Trackside


async def test_a_start_with_other_settings_fails_no_request(trackside: Trackside, echo: Service) -> None:
    """There, and back again."""
    serving = trackside.pids["haproxy"]
    async with echo.load(100) as load:
        for settings in ({"TRACKSIDE_HANG_SECONDS": "31"}, {}):
            start = Cli(trackside.cli.environment | settings).run
            await asyncio.to_thread(start, "server", "start")
    assert load.failures == [], load.summary()
    assert trackside.pids["haproxy"] == serving
