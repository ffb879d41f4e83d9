"""The port `Sources`: git repositories by the `git` program, uploads by the archive unpacker."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath

from trackside.adapters.archives.limits import ArchiveLimits
from trackside.adapters.archives.unpack import unpack_apart
from trackside.adapters.git.checkout import Checkout
from trackside.adapters.git.commands import Home
from trackside.adapters.git.options import GitOptions
from trackside.adapters.git.process import directory_bytes
from trackside.adapters.git.urls import parse_url
from trackside.rooms.builds.errors import SourceRefused, SourceUnreachable
from trackside.rooms.builds.model import Commit, GitCredentials, GitSource
from trackside.rooms.builds.ports import BuildLog

_LOOK_SECONDS = 0.5


class GitSources:
    """Fetches within a time and a size; keys of a fetch live in a private directory that goes with it."""

    def __init__(self, options: GitOptions, limits: ArchiveLimits | None = None) -> None:
        self._options = options
        self._limits = limits or ArchiveLimits()

    async def fetch_git(self, source: GitSource, credentials: GitCredentials, into: Path, log: BuildLog) -> Commit:
        url = parse_url(source.url)
        async with self._home() as home:
            checkout = Checkout(self._options, credentials, home, log)
            commit = await self._within_limits(checkout.lay_out(url, source.reference, into), into, url.text)
        check_directory(into, source.directory)
        return commit

    async def unpack(self, archive: Path, into: Path) -> None:
        await unpack_apart(archive, into, self._limits)

    async def _within_limits(self, work: Coroutine[object, object, Commit], into: Path, url: str) -> Commit:
        fetching = asyncio.ensure_future(work)
        try:
            async with asyncio.timeout(self._options.seconds):
                while not fetching.done():
                    await asyncio.wait({fetching}, timeout=_LOOK_SECONDS)
                    if await asyncio.to_thread(directory_bytes, into) > self._options.bytes:
                        raise SourceRefused(
                            f"{url} is larger than the {self._options.bytes >> 20} MiB that a source may have."
                        )
        except TimeoutError as error:
            raise SourceUnreachable(f"{url} was not fetched within {self._options.seconds:g} s.") from error
        finally:
            fetching.cancel()
            await asyncio.wait({fetching})
        return fetching.result()

    @asynccontextmanager
    async def _home(self) -> AsyncGenerator[Home]:
        self._options.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._options.directory))
        try:
            yield Home(directory, self._options.ca_bundle)
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, True)


def check_directory(tree: Path, directory: str) -> None:
    """Refuse a sub-directory that is missing, is none, or leads out of the tree (by its name or by a link)."""
    path = PurePosixPath(directory.strip("/"))
    if ".." in path.parts or "\0" in directory:
        raise SourceRefused(f"The directory `{directory}` leads out of the repository.")
    place = tree
    for part in path.parts:
        place = place / part
        if place.is_symlink() and not _is_within(place, tree):
            raise SourceRefused(f"The directory `{directory}` leads out of the repository, or in a circle.")
    if not place.is_dir():
        raise SourceRefused(
            f"The repository has no directory `{directory}`.", hint="Correct the directory, or leave it out."
        )


def _is_within(link: Path, tree: Path) -> bool:
    """Whether it leads to somewhere in the tree."""
    try:
        return link.resolve().is_relative_to(tree.resolve())
    except RuntimeError:  # it leads in a circle
        return False
