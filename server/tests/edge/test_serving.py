"""A real HAProxy under load, kept by the real loop: what clients see while everything behind them changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from edge.apps import App
from edge.haproxy_process import HAProxyProcess
from edge.load import Load, Outcome, Target, fetch
from edge.site import Site, Wanted, keeping, until
from trackside.rooms.networking.model import Page

RATE = 200


@pytest.fixture
async def site(haproxy: HAProxyProcess) -> AsyncIterator[Site]:
    wanted = Wanted()
    async with keeping(haproxy, wanted):
        yield Site(haproxy, wanted)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def started(stack: AsyncExitStack, *names: str) -> list[App]:
    return [await stack.enter_async_context(App(name)) for name in names]


def began_after(moment: float) -> Callable[[Outcome], bool]:
    """Whether a request was sent after this moment."""
    return lambda outcome: outcome.started > moment


def target(site: Site, path: str = "/", method: str = "GET") -> Target:
    return Target(site.host, site.process.port, path=path, method=method)


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept connections", "fresh connections"])
async def test_a_swap_loses_no_request_and_leaves_none_to_the_old_version(
    site: Site, stack: AsyncExitStack, keep_alive: bool
) -> None:
    old_apps, new_apps = await started(stack, "old", "old", "old"), await started(stack, "new", "new", "new")
    old, new = site.backend(1, *old_apps), site.backend(2, *new_apps)
    await site.apply([old], site.route(1))
    async with Load(target(site), RATE, keep_alive=keep_alive) as load:
        for before, after in ((old, new), (new, old)) * 3:
            await site.apply([before, after], site.route(before.slot))
            await site.verified(after)
            asked = time.monotonic()
            await site.apply([before, after], site.route(after.slot))
            swapped = time.monotonic()
            seen = len(load.outcomes)
            await until(lambda seen=seen: len(load.outcomes) > seen + 60)
            names = {old.slot: b"old", new.slot: b"new"}
            await until(lambda swapped=swapped: any(o.started > swapped for o in load.outcomes))
            assert set(load.bodies(lambda o, swapped=swapped: o.started > swapped)) == {names[after.slot]}
            assert names[after.slot] not in load.bodies(
                lambda o, asked=asked: o.ended < asked and o.started > asked - 0.1
            )
    assert not load.failures, load.summary()


async def test_scaling_up_and_down_loses_no_request(site: Site, stack: AsyncExitStack) -> None:
    apps = await started(stack, *(f"replica {n}" for n in range(5)))
    backend = site.backend(1, apps[0])
    await site.apply([backend], route := site.route(1))
    async with Load(target(site, "/slow/0.05"), RATE) as load:
        for wanted in (5, 2, 4, 1):
            backend = site.again(backend, *apps[:wanted])
            await site.apply([backend], route)
            await site.verified(backend)
            await until(
                lambda: (
                    set(site.wanted.reports[backend.deployment_id].open_by_replica)  # noqa: B023 — awaited here
                    == {app.id for app in apps[:wanted]}  # noqa: B023
                )
            )
            seen = len(load.outcomes)
            await until(lambda seen=seen: len(load.outcomes) > seen + 100)
            late = load.bodies(began_after(time.monotonic() - 0.3))
            assert set(late) <= {app.name.encode() for app in apps[:wanted]}
    assert not load.failures, load.summary()
    assert len(load.bodies()) == 5


async def test_a_leaving_replica_ends_what_it_has_and_gets_no_more(site: Site, stack: AsyncExitStack) -> None:
    stays, leaves = await started(stack, "stays", "leaves")
    backend = site.backend(1, stays, leaves)
    await site.apply([backend], route := site.route(1))
    await site.verified(backend)
    slow = [asyncio.create_task(fetch(target(site, "/slow/1.5"))) for _ in range(4)]
    await until(lambda: leaves.open == 2)
    backend = site.again(backend, stays, leaves, leaving=[leaves])
    await site.apply([backend], route)
    await until(lambda: site.wanted.reports[backend.deployment_id].open_by_replica[leaves.id] == 2)
    assert {(await fetch(target(site))).body for _ in range(10)} == {b"stays"}
    await until(lambda: site.wanted.reports[backend.deployment_id].open_by_replica[leaves.id] == 0)
    assert [outcome.status for outcome in await asyncio.gather(*slow)] == [200] * 4


async def test_growing_loses_no_request_and_swaps_hold_on_kept_connections(site: Site, stack: AsyncExitStack) -> None:
    old_apps, new_apps = await started(stack, "old"), await started(stack, "new")
    many = [site.backend(slot, probe=None) for slot in range(3, 16)]
    old, new = site.backend(1, *old_apps), site.backend(2, *new_apps)
    await site.apply([old, *many], site.route(1))
    proxy = site.process.proxy()
    before = await proxy.capacity()
    long = asyncio.create_task(fetch(target(site, "/slow/2.5")))
    async with Load(target(site, "/slow/0.02"), RATE) as load:
        await until(lambda: len(load.outcomes) > 100)
        more = [site.backend(slot, probe=None) for slot in range(16, 19)]
        await site.apply([old, *many, *more], site.route(1))
        assert await proxy.capacity() == 2 * before
        await site.apply([old, new, *many, *more], site.route(1))
        await site.verified(new)
        await site.apply([old, new, *many, *more], site.route(2))
        swapped = time.monotonic()
        # The request that began before the reload runs in the former process, and counts.
        assert site.wanted.reports[old.deployment_id].open_requests >= 1
        await until(lambda: sum(o.started > swapped for o in load.outcomes) > 200)
        assert set(load.bodies(lambda o: o.started > swapped)) == {b"new"}
    assert not load.failures, load.summary()
    assert (await long).body == b"old"
    await until(lambda: site.wanted.reports[old.deployment_id].open_requests == 0)


async def test_when_one_of_three_dies_only_answers_begun_there_and_sent_posts_are_lost(
    site: Site, stack: AsyncExitStack
) -> None:
    apps = await started(stack, "a", "b", "c")
    backend = site.backend(1, *apps)
    await site.apply([backend], site.route(1))
    await site.verified(backend)
    async with (
        Load(target(site, "/slow/0.05"), RATE) as gets,
        Load(target(site, "/slow/0.05", "POST"), 50, keep_alive=False) as posts,
    ):
        await until(lambda: len(gets.outcomes) > 100)
        posts_there = sum(seen.method == "POST" for seen in apps[1].seen)
        assert posts_there
        open_there = apps[1].open
        await apps[1].die()
        await until(lambda: not site.health(backend)[apps[1].id])
        seen = len(gets.outcomes)
        await until(lambda: len(gets.outcomes) > seen + 100)
        await apps[1].start()
        await until(lambda: site.health(backend)[apps[1].id])
        died_and_back = len(apps[1].seen)
        await until(lambda: len(apps[1].seen) > died_and_back + 20)
    assert not gets.failures, gets.summary()
    assert len(posts.failures) <= open_there
    assert {outcome.status for outcome in posts.failures} <= {502}


async def test_a_replica_that_fails_its_probes_gets_no_requests_until_it_is_well(
    site: Site, stack: AsyncExitStack
) -> None:
    apps = await started(stack, "a", "b")
    backend = site.backend(1, *apps)
    await site.apply([backend], site.route(1))
    await site.verified(backend)
    apps[0].healthy = lambda: False
    await until(lambda: not site.health(backend)[apps[0].id])
    assert site.wanted.reports[backend.deployment_id].health[apps[0].id].detail == 'HTTP 503: "db not ready"'
    await until(lambda: site.revision(backend) == backend.revision)
    assert {(await fetch(target(site))).body for _ in range(8)} == {b"b"}
    apps[1].healthy = lambda: False
    await until(lambda: not site.health(backend)[apps[1].id])
    assert (await fetch(target(site))).status == 200  # the last one is never taken out
    apps[0].healthy = lambda: True
    await until(lambda: site.health(backend)[apps[0].id])
    await until(lambda: site.revision(backend) == backend.revision)
    assert {(await fetch(target(site))).body for _ in range(8)} == {b"a"}


async def test_a_version_that_never_becomes_well_is_never_routed(site: Site, stack: AsyncExitStack) -> None:
    (old,), (bad,) = await started(stack, "old"), await started(stack, "bad")
    bad.healthy = lambda: False
    first, second = site.backend(1, old), site.backend(2, bad)
    await site.apply([first], site.route(1))
    await site.verified(first)
    site.wanted.put([first, second], [route := site.route(2)])
    await until(lambda: bad.id in site.health(second))
    assert {(await fetch(target(site))).body for _ in range(8)} == {b"old"}
    assert site.wanted.applied[site.instance] != route.revision
    bad.healthy = lambda: True
    await until(lambda: site.wanted.applied[site.instance] == route.revision)
    assert {(await fetch(target(site))).body for _ in range(8)} == {b"bad"}


@pytest.mark.parametrize("seconds", [3.5, 4.3])  # HAProxy's checks come once a second then: not to meet one by chance
async def test_an_app_that_is_long_in_starting_is_swapped_in_without_a_failure(
    site: Site, stack: AsyncExitStack, seconds: float
) -> None:
    """Nobody listens for longer than HAProxy's own checks are patient: they must not hold against it that it started."""
    (old,), late = await started(stack, "old"), App("late")
    first, second = site.backend(1, old), site.backend(2, late)
    await site.apply([first], site.route(1))
    await site.verified(first)
    async with Load(target(site), RATE) as load:
        site.wanted.put([first, second], [route := site.route(2)])
        await asyncio.sleep(seconds)  # the start is what is tested
        await stack.enter_async_context(late)
        await until(lambda: site.wanted.applied[site.instance] == route.revision)
        seen = len(load.outcomes)
        await until(lambda: len(load.outcomes) > seen + 200)
    assert not load.failures, load.summary()
    assert load.outcomes[-1].body == b"late"


@pytest.mark.parametrize("seconds", [3.0, 3.5])
async def test_a_replica_that_was_unwell_takes_requests_again_at_once(
    site: Site, stack: AsyncExitStack, seconds: float
) -> None:
    """As above, for one that served before: its port was closed for a while."""
    apps = await started(stack, "a", "b")
    backend = site.backend(1, *apps)
    await site.apply([backend], site.route(1))
    await site.verified(backend)
    await apps[0].die()
    await until(lambda: not site.health(backend)[apps[0].id])
    await asyncio.sleep(seconds)  # HAProxy's own checks fail meanwhile
    await apps[0].start()
    await until(lambda: site.health(backend)[apps[0].id] and site.revision(backend) == backend.revision)
    await apps[1].die()
    assert {(await fetch(target(site))).body for _ in range(8)} == {b"a"}


async def test_haproxy_killed_serves_again_from_its_files_with_the_edge_and_the_database_off(
    haproxy: HAProxyProcess, stack: AsyncExitStack
) -> None:
    apps = await started(stack, "a", "b")
    wanted = Wanted()
    site = Site(haproxy, wanted)
    backend = site.backend(1, *apps)
    async with keeping(haproxy, wanted):
        await site.apply([backend], site.route(1))
        await site.verified(backend)
        await until(lambda: site.revision(backend) == backend.revision)
    await haproxy.kill()
    await haproxy.start()
    assert {(await fetch(target(site))).body for _ in range(8)} == {b"a", b"b"}


async def is_refused(site: Site) -> bool:
    try:
        await fetch(target(site))
    except ConnectionRefusedError:
        return True
    return False


async def until_open(site: Site) -> None:
    async with asyncio.timeout(10):
        while await is_refused(site):
            await asyncio.sleep(0.01)


async def test_after_a_boot_the_edge_opens_when_every_app_was_found_well(
    haproxy: HAProxyProcess, stack: AsyncExitStack
) -> None:
    """Without the database too: what was served last is on the disk."""
    apps = await started(stack, "a")
    wanted = Wanted()
    site = Site(haproxy, wanted)
    backend = site.backend(1, *apps)
    async with keeping(haproxy, wanted):
        await site.apply([backend], site.route(1))
        await site.verified(backend)
        await until(lambda: site.revision(backend) == backend.revision)
    await haproxy.boot()
    wanted.is_away = True
    apps[0].healthy = lambda: False
    probed = len(apps[0].seen)
    async with keeping(haproxy, wanted):
        await until(lambda: len(apps[0].seen) > probed + 2)
        assert await is_refused(site)
        apps[0].healthy = lambda: True
        await until_open(site)
        assert (await fetch(target(site))).body == b"a"


async def test_after_a_boot_an_app_that_stays_away_keeps_the_others_waiting_for_a_while_only(
    haproxy: HAProxyProcess, stack: AsyncExitStack
) -> None:
    wanted = Wanted()
    site = Site(haproxy, wanted)
    (app,) = await started(stack, "a")
    backend = site.backend(1, app)
    app.healthy = lambda: False
    wanted.put([backend], [site.route(1)])
    await haproxy.boot()
    async with keeping(haproxy, wanted, boot=0.5):
        assert await is_refused(site)
        await until_open(site)
        assert (await fetch(target(site))).status == 503


async def test_the_edge_starts_without_the_database_and_mends_what_it_finds(
    haproxy: HAProxyProcess, stack: AsyncExitStack
) -> None:
    apps = await started(stack, "a", "b")
    wanted = Wanted()
    site = Site(haproxy, wanted)
    backend = site.backend(1, *apps)
    async with keeping(haproxy, wanted):
        await site.apply([backend], site.route(1))
        await site.verified(backend)
        await until(lambda: site.revision(backend) == backend.revision)
    wanted.is_away = True
    async with keeping(haproxy, wanted), Load(target(site), RATE) as load:
        await haproxy.proxy().put_routes([])
        await until(lambda: b"a" in load.bodies(began_after(time.monotonic() - 0.1)))
        apps[0].healthy = lambda: False
        await until(lambda: bool(apps[1].seen) and b"a" not in load.bodies(began_after(time.monotonic() - 0.2)))
        wanted.is_away = False
        await until(lambda: site.health(backend).get(apps[0].id) is False)


async def test_pages_name_the_cause(site: Site) -> None:
    assert (await fetch(target(site))).status == 404
    expected = {Page.STARTING: "starting", Page.CRASHED: "crashed", Page.STOPPED: "taken down, or none has succeeded"}
    for page, word in expected.items():
        await site.apply([], site.route(page))
        answer = await fetch(target(site))
        assert (answer.status, word in answer.body.decode()) == (503, True)
        assert answer.headers["x-request-id"] in answer.body.decode()
        assert answer.headers["cache-control"] == "no-store"
