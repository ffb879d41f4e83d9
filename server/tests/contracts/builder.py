"""What every `Builder` does. A subclass gives the fixtures `builder` and `order` (makes an order of a tree and a Dockerfile)."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest

from trackside.rooms.builds.errors import BuildCancelled, BuildFailed
from trackside.rooms.builds.model import BuildOrder
from trackside.rooms.builds.ports import Builder

START = "FROM debian:bookworm-slim\n"
MakeOrder = Callable[..., BuildOrder]


class Lines:
    """A build log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def __call__(self, line: str) -> None:
        self.lines.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class BuilderContract:
    async def test_a_built_and_published_image_says_what_its_dockerfile_says(
        self, builder: Builder, order: MakeOrder
    ) -> None:
        dockerfile = f'{START}COPY . /app/\nUSER 1000:1000\nEXPOSE 8080\nCMD ["/app/run", "--fast"]\n'
        image_id = await builder.build(order(dockerfile, {"run": "x"}), Lines())
        image = await builder.publish(image_id, {}, Lines())
        assert image.id == image_id
        assert image.config.exposed_ports == (8080,)
        assert image.config.user == "1000:1000"
        assert image.config.command == ("/app/run", "--fast")

    async def test_the_same_tree_gives_the_same_image(self, builder: Builder, order: MakeOrder) -> None:
        dockerfile, files = f"{START}COPY . /app/\n", {"a.txt": str(uuid4())}
        first = await builder.build(order(dockerfile, files), Lines())
        assert await builder.build(order(dockerfile, files), Lines()) == first
        assert await builder.build(order(dockerfile, {"a.txt": "other"}), Lines()) != first

    async def test_publishing_twice_is_publishing_once(self, builder: Builder, order: MakeOrder) -> None:
        image_id = await builder.build(order(f"{START}COPY . /app/\n", {"a.txt": str(uuid4())}), Lines())
        first = await builder.publish(image_id, {}, Lines())
        assert (await builder.publish(image_id, {}, Lines())).id == first.id

    async def test_an_image_that_was_never_built_can_not_be_published(self, builder: Builder) -> None:
        with pytest.raises(BuildFailed):
            await builder.publish("sha256:" + "0" * 64, {}, Lines())

    async def test_a_failing_step_is_named_with_its_exit_code(self, builder: Builder, order: MakeOrder) -> None:
        with pytest.raises(BuildFailed, match=r"RUN exit 3.*exit code 3") as caught:
            await builder.build(order(f"{START}RUN exit 3\n"), Lines())
        assert caught.value.limit is None

    async def test_what_a_step_prints_is_logged(self, builder: Builder, order: MakeOrder) -> None:
        log = Lines()
        await builder.build(order(f"{START}RUN echo said-{uuid4()}\n"), log)
        assert "said-" in log.text

    async def test_secret_values_never_reach_the_log(self, builder: Builder, order: MakeOrder) -> None:
        log, secret = Lines(), f"hunter2-{uuid4()}"
        await builder.build(order(f"{START}RUN echo {secret}\n", variables={"PASSWORD": secret}), log)
        assert secret not in log.text
        assert "[redacted]" in log.text

    async def test_a_cancelled_build_ends_at_once(self, builder: Builder, order: MakeOrder) -> None:
        wanted, log = order(f"{START}RUN echo begun-{uuid4()}\nRUN sleep 120\n"), Lines()
        building = asyncio.ensure_future(builder.build(wanted, log))
        async with asyncio.timeout(60):
            while "begun-" not in log.text:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(15):
            await builder.cancel(wanted.build_id)
            with pytest.raises(BuildCancelled):
                await building

    async def test_cancelling_a_build_that_does_not_run_is_no_error(self, builder: Builder) -> None:
        await builder.cancel(uuid4())

    async def test_a_cancelled_build_can_be_built_again(self, builder: Builder, order: MakeOrder) -> None:
        wanted = order(f"{START}RUN sleep 0\n")
        building = asyncio.ensure_future(builder.build(wanted, Lines()))
        await asyncio.sleep(0)
        await builder.cancel(wanted.build_id)
        await asyncio.gather(building, return_exceptions=True)
        assert await builder.build(wanted, Lines())

    async def test_images_of_ended_builds_go_when_nothing_is_built_and_not_in_a_trial(
        self, builder: Builder, order: MakeOrder
    ) -> None:
        image_id = await builder.build(order(f"{START}COPY . /app/\n", {"a.txt": str(uuid4())}), Lines())
        told = await builder.collect(is_idle=True, is_trial=True)
        assert "images of ended builds" in [one.kind for one in told]
        assert "images of ended builds" not in [one.kind for one in await builder.collect(is_idle=False)]
        await builder.publish(image_id, {}, Lines())
        gone = await builder.build(order(f"{START}COPY . /app/\n", {"a.txt": str(uuid4())}), Lines())
        assert "images of ended builds" in [one.kind for one in await builder.collect(is_idle=True)]
        with pytest.raises(BuildFailed):
            await builder.publish(gone, {}, Lines())

    async def test_room_is_made_of_what_was_built_and_not_published_only_when_nothing_is_built(
        self, builder: Builder, order: MakeOrder
    ) -> None:
        kept = await builder.build(order(f"{START}COPY . /app/\n", {"a.txt": str(uuid4())}), Lines())
        await builder.make_room(is_idle=False)
        await builder.publish(kept, {}, Lines())
        gone = await builder.build(order(f"{START}COPY . /app/\n", {"a.txt": str(uuid4())}), Lines())
        await builder.make_room(is_idle=True)
        with pytest.raises(BuildFailed):
            await builder.publish(gone, {}, Lines())
