"""The log store on files keeps the port's contract, over processes, crashes, full disks, rotation and packing."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count as count_from
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.log_store import START, LogStoreContract, a_stream, lines, messages
from trackside.adapters.logfiles import segments
from trackside.adapters.logfiles.reader import Tail
from trackside.adapters.logfiles.store import FileLogStore
from trackside.adapters.logfiles.writer import LogOptions, Writer
from trackside.rooms.telemetry.errors import LogsUnavailable
from trackside.rooms.telemetry.model import Line, Stream

SMALL = LogOptions(segment_bytes=2000)


@pytest.fixture(params=["wide segments", "narrow segments", "narrow packed segments"])
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[FileLogStore]:
    if request.param == "wide segments":
        files = FileLogStore(tmp_path / "logs")
    elif request.param == "narrow segments":
        files = FileLogStore(tmp_path / "logs", SMALL)
    else:
        files = PackingStore(tmp_path / "logs", SMALL)
    yield files
    await files.close()


class PackingStore(FileLogStore):
    """Packs after each batch what it can, so that readers meet packed segments everywhere."""

    async def append(self, stream: Stream, lines: "list[Line] | tuple[Line, ...]") -> None:  # type: ignore[override]
        await super().append(stream, lines)
        await self.sweep(START)


class TestFileLogStore(LogStoreContract):
    pass


def files_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if ".ndjson" in path.name)


async def test_another_store_on_the_same_files_goes_on_counting(tmp_path: Path) -> None:
    stream = a_stream()
    one, other = FileLogStore(tmp_path, SMALL), FileLogStore(tmp_path, SMALL)
    for number in range(0, 200, 10):
        await (one, other)[number % 20 // 10].append(stream, lines(10, number))
    back = await FileLogStore(tmp_path, SMALL).read(stream)
    assert [(line.seq, line.message) for line in back] == [(n + 1, str(n)) for n in range(200)]
    assert len(files_of(tmp_path)) > 3


@pytest.mark.parametrize("torn", [b"{", b'{"seq":4,"at":"2026-', b'{"seq":4}\0\0', b"\xff" * 3000])
async def test_a_half_written_line_is_cut_off_by_the_next_writer(tmp_path: Path, torn: bytes) -> None:
    stream = a_stream()
    await FileLogStore(tmp_path).append(stream, lines(3))
    with files_of(tmp_path)[0].open("ab") as file:
        file.write(torn)
    store = FileLogStore(tmp_path)
    assert await messages(store, stream) == ["0", "1", "2"]
    assert await messages(store, stream, newest=True, limit=2) == ["1", "2"]
    await store.append(stream, lines(1, 3))
    assert [(line.seq, line.message) for line in await store.read(stream)] == [(n + 1, str(n)) for n in range(4)]


async def test_an_unreadable_line_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    stream = a_stream()
    store = FileLogStore(tmp_path)
    await store.append(stream, lines(5))
    path = files_of(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"message":"2"', b'"message":2 2'))
    assert await messages(store, stream) == ["0", "1", "3", "4"]


def begin_writing(root: Path, stream: Stream) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("write_for_ever.py")
    ids = (stream.workspace_id, stream.owner, uuid4())
    return subprocess.Popen([sys.executable, str(script), str(root), *map(str, ids)])


@pytest.mark.timeout(120)
async def test_writers_killed_at_any_moment_lose_no_batch_and_break_no_number(tmp_path: Path) -> None:
    stream, store = a_stream(), FileLogStore(tmp_path, SMALL)
    for _ in range(4):
        writers = [begin_writing(tmp_path, stream) for _ in range(2)]
        before = await count(store, stream)
        async with asyncio.timeout(30):
            while await count(store, stream) < before + 500:
                await asyncio.sleep(0.02)
        for writer in writers:
            writer.kill()
            writer.wait()
    back = await store.read(stream, limit=10_000_000)
    assert [line.seq for line in back] == list(range(1, len(back) + 1))
    for replica_id in {line.replica_id for line in back}:
        numbers = [int(line.message) for line in back if line.replica_id == replica_id]
        assert numbers == list(range(len(numbers)))


async def count(store: FileLogStore, stream: Stream) -> int:
    newest = await store.read(stream, newest=True, limit=1)
    return newest[0].seq if newest else 0


async def test_followers_of_another_process_miss_nothing_through_rotation_and_packing(tmp_path: Path) -> None:
    stream, store = a_stream(), FileLogStore(tmp_path, SMALL)
    got: list[int] = []
    sweeping = asyncio.create_task(sweep_for_ever(tmp_path))
    writer = begin_writing(tmp_path, stream)
    try:
        async with asyncio.timeout(60):
            async for line in store.follow(stream):
                got.append(line.seq)
                if len(got) == 5000:
                    break
    finally:
        writer.kill()
        writer.wait()
        sweeping.cancel()
        await store.close()
    assert got == list(range(1, 5001))


@pytest.mark.parametrize("opening", [1, 2])
def test_a_segment_packed_between_listing_and_reading_is_listed_again_and_not_passed_over(
    tmp_path: Path, opening: int
) -> None:
    writer, directory = Writer(SMALL), tmp_path / "stream"
    tail = Tail(directory, 0)
    writer.append(directory, lines(50))
    assert len(tail.more()) == 50
    writer.append(directory, lines(50, 50))
    writer.append(directory, lines(50, 100))
    middle = segments.plain_path(directory, 51)
    with before_opening(middle, opening, lambda: writer.pack(directory)) as came:
        got = [line.seq for _ in range(3) for line in tail.more()]
    assert came
    assert not middle.exists()
    assert got == list(range(51, 151))


@contextmanager
def before_opening(path: Path, which: int, act: Callable[[], object]) -> Iterator[list[int]]:
    """Do something just before this file is opened for the nth time: the list holds a number once it was done. An audit
    hook stays for as long as the process lives, so it is made deaf in the end.
    """
    openings, came, is_over = count_from(1), [], False

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and not is_over and not came and arguments[0] == str(path) and next(openings) == which:
            came.append(which)
            act()

    sys.addaudithook(hear)
    try:
        yield came
    finally:
        is_over = True


async def sweep_for_ever(root: Path) -> None:
    store = FileLogStore(root, SMALL)
    while True:
        await store.sweep(START)
        await asyncio.sleep(0.01)


async def test_a_batch_the_disk_refuses_is_not_stored_at_all(tmp_path: Path) -> None:
    stream, store = a_stream(), FileLogStore(tmp_path)
    await store.append(stream, lines(3))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(LogsUnavailable, match="can't be used"):
            await store.append(stream, [Line(START, "x" * 6000), Line(START, "y" * 6000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    await store.append(stream, lines(1, 3))
    assert [(line.seq, line.message) for line in await store.read(stream)] == [(n + 1, str(n)) for n in range(4)]


async def test_a_stream_keeps_to_its_size_dropping_the_oldest(tmp_path: Path) -> None:
    stream = a_stream()
    store = FileLogStore(tmp_path, LogOptions(segment_bytes=2000, stream_bytes=10_000))
    for number in range(0, 1000, 10):
        await store.append(stream, lines(10, number))
    await store.sweep(START)
    assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 12_000
    back = await store.read(stream, limit=5000)
    assert back[-1].seq == 1000
    assert all(b.seq == a.seq + 1 for a, b in pairwise(back))


async def test_all_streams_keep_to_their_size_dropping_the_oldest_of_all(tmp_path: Path) -> None:
    store = FileLogStore(tmp_path, LogOptions(segment_bytes=2000, all_bytes=10_000))
    old, young = a_stream(), a_stream()
    for number in range(0, 100, 10):
        await store.append(old, lines(10, number))
        await store.append(young, lines(10, number))
    for path in files_of(tmp_path):
        if str(old.owner) in str(path):
            os.utime(path, (1, 1))
    now = START + timedelta(seconds=1)
    told = await store.sweep(now, is_trial=True)
    before = sum(path.stat().st_size for path in files_of(tmp_path))
    assert 0 < told <= before
    assert await store.sweep(now) > 0
    assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 10_000
    assert len(await messages(store, young)) == 100
    assert len(await messages(store, old)) < 100
    await store.append(old, lines(1, 100))
    assert (await store.read(old))[-1].seq == 101, "the count of the lines was lost"
    assert await store.sweep(now, is_trial=True) == 0


async def test_old_segments_go_and_young_ones_stay(tmp_path: Path) -> None:
    stream, store = a_stream(), FileLogStore(tmp_path, SMALL)
    for number in range(0, 200, 10):
        await store.append(stream, lines(10, number))
    await store.sweep(START)
    old = files_of(tmp_path)[:3]
    for path in old:
        os.utime(path, (1, 1))
    cut = START + timedelta(days=30, seconds=int(old[2].name.split("-")[1]) + 1)
    assert await store.sweep(cut) > 0
    assert not any(path.exists() for path in old)
    assert (await store.read(stream))[-1].seq == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    (disk := tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> None:
    room = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(room.f_bavail * room.f_bsize))


async def test_a_full_disk_that_nothing_can_be_packed_on_keeps_nothing_that_is_too_old(small_disk: Path) -> None:
    store, outdated, young = FileLogStore(small_disk, SMALL), a_stream(), a_stream()
    for stream in (outdated, young):
        for number in range(3):
            await store.append(stream, [Line(START, os.urandom(5000).hex(), seq=number)])
    for path in (path for path in files_of(small_disk) if str(outdated.owner) in str(path)):
        os.utime(path, (1, 1))
    kept = [path for path in files_of(small_disk) if str(young.owner) in str(path)]
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        Writer(SMALL).pack(kept[0].parent)
    assert await store.sweep(datetime.fromtimestamp(1, UTC) + timedelta(days=31)) > 3 * 10_000
    assert [len(await store.read(stream)) for stream in (outdated, young)] == [0, 3]
    assert not list(small_disk.rglob("*.packing"))


async def test_packing_broken_off_leaves_every_line_once(tmp_path: Path) -> None:
    stream, store = a_stream(), FileLogStore(tmp_path, SMALL)
    for number in range(0, 100, 10):
        await store.append(stream, lines(10, number))
    plain = {path: path.read_bytes() for path in files_of(tmp_path)[:-1]}
    await store.sweep(START)
    for path, content in plain.items():
        path.write_bytes(content)  # as if killed between the two
    expected = [str(number) for number in range(100)]
    assert await messages(store, stream) == expected
    await store.sweep(START)
    assert await messages(store, stream) == expected
    assert [path.suffix for path in files_of(tmp_path)] == [".zst"] * len(plain) + [".ndjson"]


async def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    await FileLogStore(tmp_path / "logs").append(a_stream(), lines(1))
    for path in (tmp_path / "logs").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.is_dir()


async def test_who_is_cancelled_as_it_stores_lets_nobody_look_before_that_is_done(store: FileLogStore) -> None:
    """Or the next collector would not find the last line, and store it once more."""
    stream = a_stream()
    for number in range(100):
        storing = asyncio.create_task(store.append(stream, [Line(START, str(number))]))
        for _ in range(3):
            await asyncio.sleep(0)  # until a thread is at it
        storing.cancel()
        await asyncio.wait({storing})
        assert (await store.read(stream, limit=1, newest=True))[-1].message == str(number)
