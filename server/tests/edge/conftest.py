"""A real HAProxy for each test that asks for one."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edge.haproxy_process import HAProxyProcess


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for the names of sockets in it."""
    with tempfile.TemporaryDirectory(prefix="edge") as path:
        yield Path(path)


@pytest.fixture
async def haproxy(short_directory: Path) -> AsyncIterator[HAProxyProcess]:
    process = HAProxyProcess(short_directory)
    await process.start()
    yield process
    await process.stop()
