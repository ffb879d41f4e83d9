"""One of three replicas killed under reads, streams and POSTs: what is lost is what was open there, and nothing else."""

import asyncio
import time
from typing import Any

from e2e.conftest import Service, Trackside, until
from e2e.test_deploying import in_background
from edge.load import Load


def killed(trackside: Trackside, replica: str) -> tuple[float, float]:
    """Kill a replica's container, by the engine's own program; from when to when that went, on the clock of the load."""
    container = trackside.engine("ps", "-q", "--filter", f"label=dev.trackside.replica={replica}").strip()
    began = time.monotonic()
    trackside.engine("kill", container)
    return began, time.monotonic()


async def test_one_of_three_killed_loses_only_streams_and_posts_that_were_open_there(
    echo: Service, trackside: Trackside
) -> None:
    echo.cli.run("scale", "3", *echo.scope)
    until(lambda: echo.instance["replicas"] == {"wanted": 3, "healthy": 3})
    victim = echo.get("/replica").text
    reads = echo.load(100, path="/slow?s=0.3")
    posts = echo.load(30, path="/slow?s=0.3", method="POST", keep_alive=False)
    kept_posts = echo.load(30, path="/slow?s=0.3", method="POST")
    streams = echo.load(20, path="/stream?s=1")
    async with reads, posts, kept_posts, streams:
        while len(streams.outcomes) < 30:
            await asyncio.sleep(0.05)
        began, gone = await in_background(killed, trackside, victim)
        await in_background(until, lambda: serves_since(gone, victim, streams), 60, "it serves again")
    loads = {"reads": reads, "POSTs": posts, "POSTs on kept connections": kept_posts, "streams": streams}
    print("lost:", {what: f"{len(load.failures)} of {len(load.outcomes)}" for what, load in loads.items()})
    assert reads.failures == [], reads.summary()
    assert_only_streams_open_there_were_cut(streams, victim, began, gone)
    assert_only_posts_sent_there_failed(posts, kept_posts, gone)
    told = [o for load in (posts, kept_posts) for o in load.failures if o.status]
    until(lambda: len(failed_posts(echo)) == len(told), 20, "those that were answered are logged, and no other")
    assert {line["replica_id"] for line in failed_posts(echo)} <= {victim}


def serves_since(moment: float, replica: str, streams: Load) -> bool:
    """Whether a stream that began after this moment came from the replica, and ended."""
    return any(o.started > moment and o.is_ok and o.headers.get("x-replica") == replica for o in list(streams.outcomes))


def assert_only_streams_open_there_were_cut(streams: Load, victim: str, began: float, gone: float) -> None:
    there = [o for o in streams.outcomes if o.headers.get("x-replica") == victim]
    open_there = [o for o in there if o.started < gone and o.ended > began]
    assert streams.failures, "no stream was open on the replica: nothing was shown"
    assert {id(o) for o in streams.failures} <= {id(o) for o in open_there}, streams.summary()
    assert {o.status for o in streams.failures} == {200}  # begun, then cut: none was answered wrongly


def assert_only_posts_sent_there_failed(posts: Load, kept: Load, gone: float) -> None:
    """Sent before the kill had ended. On a connection that was used before, HAProxy closes instead of answering 502."""
    assert posts.failures or kept.failures, "no POST was at the replica: nothing was shown"
    for load, answers in ((posts, {502}), (kept, {502, 0})):
        assert all(o.started < gone for o in load.failures), load.summary()
        assert {o.status for o in load.failures} <= answers, load.summary()


def failed_posts(service: Service) -> list[dict[str, Any]]:
    """The POSTs without a good answer, as the edge has logged them: each with the replica it was sent to."""
    lines: list[dict[str, Any]] = service.api.get(
        f"/v1/deployments/{service.deployments()[0]['id']}/logs",
        params={"kind": "http", "limit": 10_000, "newest": "true"},
    ).json()["lines"]
    posts = [line for line in lines if line["attributes"]["method"] == "POST"]
    return [line for line in posts if line["attributes"]["status"] != "200"]
