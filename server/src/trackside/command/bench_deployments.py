"""Deployments measured: of an existing image, again from an unchanged source, and from a source that changed."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from trackside import bootstrap
from trackside.command.bench_engine import Floor, container_of, live_once, marks_of
from trackside.command.bench_figures import Mark, Runs, Shared, share_of, stages
from trackside.command.bench_platform import Attempt, Platform, moment, read_directory

EXAMPLE = bootstrap.CHECKOUT / "examples" / "03-static"
PORT = 8080
Once = Callable[[int], Awaitable[Attempt]]


async def existing_image(platform: Platform, times: int) -> Runs:
    """Deployments of an image that the engine has."""
    built = await from_source(platform, "image", 0)
    source = {"kind": "image", "reference": built.deployment["image_id"]}
    await platform.deploy("image", source)
    return await repeat(platform, times, lambda _: platform.deploy("image", source))


async def unchanged_source(platform: Platform, times: int) -> Runs:
    """The same upload again and again: fetched, planned, built out of the cache, published, deployed."""
    built = await from_source(platform, "again", 0)

    async def once(_: int) -> Attempt:
        again = await platform.ask("POST", f"/deployments/{built.deployment['id']}/redeploy")
        return await platform.finish(datetime.now(UTC), again["id"])

    return await repeat(platform, times, once)


async def changed_source(platform: Platform, times: int) -> Runs:
    """A static site of which one file changed each time, uploaded as `trackside up` does; its wall time counts the upload."""
    await from_source(platform, "changed", 0)
    return await repeat(platform, times, lambda number: from_source(platform, "changed", number + 1))


async def from_source(platform: Platform, service: str, number: int) -> Attempt:
    """The static example with a page of its own for each number."""
    began = datetime.now(UTC)
    finished = await from_files(platform, service, site(number))
    return Attempt(began, finished.deployment, finished.events) if number else finished


async def from_files(platform: Platform, service: str, files: Mapping[str, bytes]) -> Attempt:
    """An upload of these files."""
    accepted, requested = await platform.request(service, await platform.upload(service, files))
    return await platform.finish(accepted, requested["id"])


def site(number: int) -> Mapping[str, bytes]:
    """The example's files, one of them unlike every other number's."""
    return read_directory(EXAMPLE) | {"public/number.html": f"<p>{number}</p>\n".encode()}


async def repeat(platform: Platform, times: int, once: Once) -> Runs:
    """Deploy some times, each followed by a life of the same container without the platform."""
    shares: list[Shared] = []
    floors: list[Floor] = []
    kept: list[tuple[Attempt, list[Mark]]] = []
    for number in range(times):
        attempt = await once(number)
        marks = await marks_of(platform, attempt.accepted, datetime.now(UTC))
        container = await container_of(platform, attempt.deployment)
        floor = await live_once(platform, container, PORT)
        engine_start = (moment(container["State"]["StartedAt"]) - moment(container["Created"])).total_seconds()
        shares.append(share_of(attempt, engine_start, floor, marks))
        floors.append(floor)
        kept.append((attempt, marks))
    return Runs(shares, floors, stages(kept))
