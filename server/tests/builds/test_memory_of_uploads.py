"""Receiving and unpacking an upload takes the memory of a piece of it, not of the whole: measured in processes of their own."""

import gzip
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
import zstandard

MEBIBYTE = 1 << 20
MORE = 24 * MEBIBYTE
"""How much more memory many files and bytes may take than few."""

RECEIVE = """
import asyncio, os, sys, uuid
from pathlib import Path
from trackside.adapters.objects.folder import UploadFolder

async def chunks():
    for _ in range(int(sys.argv[2]) * 4):
        yield os.urandom(1 << 18)

folder = UploadFolder(Path(sys.argv[1]), 1 << 30)
asyncio.run(folder.receive(uuid.uuid4(), uuid.uuid4(), chunks()))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
UNPACK = """
import sys
from pathlib import Path
from trackside.adapters.archives.limits import ArchiveLimits
from trackside.adapters.archives.unpack import unpack_archive

into = Path(sys.argv[2])
into.mkdir()
unpack_archive(Path(sys.argv[1]), into, ArchiveLimits())
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def peak(program: str, *arguments: object) -> int:
    """The most memory the program held, in bytes (its own: what `getrusage` tells begins with that of whoever started it)."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(ran.stdout) << 10


def a_tar(path: Path, files: int, size: int) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in contents(files, size):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))


def a_zstd(path: Path, files: int, size: int) -> None:
    a_tar(path.with_suffix(".gz"), files, size)
    with gzip.open(path.with_suffix(".gz")) as plain, path.open("wb") as packed:
        zstandard.ZstdCompressor(level=1).copy_stream(plain, packed)  # type: ignore[arg-type]


def a_zip(path: Path, files: int, size: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents(files, size):
            archive.writestr(name, content)


def contents(files: int, size: int) -> Iterator[tuple[str, bytes]]:
    """Files in directories, equal in size, with what packs as badly as it can."""
    for number in range(files):
        yield f"d{number % 50}/f{number}", os.urandom(size // files)


def test_receiving_many_bytes_takes_no_more_memory_than_few(tmp_path: Path) -> None:
    few, many = peak(RECEIVE, tmp_path, 1), peak(RECEIVE, tmp_path, 128)
    assert many - few < MORE


@pytest.mark.parametrize("pack", [a_tar, a_zstd, a_zip])
def test_unpacking_many_files_and_bytes_takes_no_more_memory_than_few(
    tmp_path: Path, pack: Callable[[Path, int, int], None]
) -> None:
    pack(tmp_path / "few", 10, MEBIBYTE)
    pack(tmp_path / "many", 3000, 96 * MEBIBYTE)
    pack(tmp_path / "one", 1, 96 * MEBIBYTE)
    few, many, one = (peak(UNPACK, tmp_path / name, tmp_path / f"into-{name}") for name in ("few", "many", "one"))
    assert len(list((tmp_path / "into-many").rglob("f*"))) == 3000
    assert many - few < MORE
    assert one - few < MORE
