"""What builds ask of the world."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable
from uuid import UUID

from trackside.kit.garbage import Freed
from trackside.rooms.builds.model import BuildOrder, Commit, DiskSpace, GitCredentials, GitSource, Image

BuildLog = Callable[[str], Awaitable[None]]
"""Takes one line of a build's log, without its newline."""


class Sources(Protocol):
    """Fetches sources into directories. Errors: `builds.errors.SourceRefused`, `SourceUnreachable`."""

    async def fetch_git(self, source: GitSource, credentials: GitCredentials, into: Path, log: BuildLog) -> Commit:
        """Check the repository out into the empty directory `into`: submodules and LFS included, no `.git` left behind.

        The whole repository is laid out; the sub-directory is the caller's matter, but one that is missing or leads out of
        the tree is refused here.
        """
        ...

    async def unpack(self, archive: Path, into: Path) -> None:
        """Unpack an uploaded archive (tar, tar.gz, tar.zst or zip) into the empty directory `into`, refusing what could escape or flood."""
        ...


class Builder(Protocol):
    """Runs builds, with limits.

    Errors: `builds.errors.BuildFailed` (with `limit` where one ended it), `BuildCancelled`; `EngineAway` where nobody is there to build,
    and `EngineLost` where whoever was there died in it: either says nothing of the build, which may be begun again.
    """

    async def build(self, order: BuildOrder, log: BuildLog) -> str:
        """Build the order's tree; the content id (`sha256:…`) of the image on the build side. Idempotent by cache."""
        ...

    async def cancel(self, build_id: UUID) -> None:
        """End a running build at once and leave nothing of it behind; no error where none runs."""
        ...

    async def collect(self, *, is_idle: bool, is_trial: bool = False) -> list[Freed]:
        """Drop what is too old or too much of the build cache and of what killed builds left; in a trial only tell.

        `is_idle`: nothing is being built, so an image without a name is waited for by nobody. Errors: `ImageUnavailable`.
        """
        ...

    async def make_room(self, *, is_idle: bool) -> None:
        """Drop all of the build cache that no running build needs, and where nothing is being built (`is_idle`) every image."""
        ...

    async def publish(self, image_id: str, labels: Mapping[str, str], log: BuildLog) -> Image:
        """Move a built image to the engine that runs apps (a no-op where it is there already).

        Errors: `builds.errors.ImageGone` where it was taken away at once: it may be tried again.
        """
        ...


class Images(Protocol):
    """The images of the engine that runs apps. Errors: `builds.errors.ImageUnavailable`, `EngineAway` where it was not there."""

    async def pull(self, reference: str, log: BuildLog, name: str, *, from_engine: bool = False) -> Image:
        """Fetch an image by reference from its registry and `keep` it under a name; no other name of it is left behind.

        `from_engine`: where the engine has that very content (`sha256:…`, `name@sha256:…`), no registry is asked. Whoever
        says so has seen to it that the content may be had: a registry would ask for a login, the engine does not.
        """
        ...

    async def inspect(self, image_id: str) -> Image | None:
        """The image with this content id, or None."""
        ...

    async def keep(self, image_id: str, name: str) -> None:
        """Hold an image under a name of ours (`trackside/<installation>/…`), so that no foreign clean-up takes it.

        Errors: `builds.errors.ImageGone` where it is not there (any longer).
        """
        ...

    async def kept(self) -> Mapping[str, str]:
        """Every name that `keep` gave on this installation, with the content id it holds."""
        ...

    async def release(self, names: Sequence[str]) -> None:
        """Give up names; an image without any name left and without a container is removed by this."""
        ...

    async def unnamed(self) -> Mapping[str, int]:
        """Images built by this installation that have no name, of ours or of anybody, by content id: their size in bytes."""
        ...

    async def drop_unnamed(self) -> None:
        """Remove those that no container uses. Whoever is about to `keep` one finds it gone, and has it published anew."""
        ...


class Disks(Protocol):
    """The disks that deployments fill."""

    async def measure(self) -> Sequence[DiskSpace]:
        """How each stands now. One that can't be looked at is left out."""
        ...


@runtime_checkable
class Uploads(Protocol):
    """Keeps uploaded archives."""

    async def receive(self, workspace_id: UUID, upload_id: UUID, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store the bytes as they come; (SHA-256 in hex, size). Errors: `ArchiveRefused` (too large), `LowDisk`."""
        ...

    async def path(self, workspace_id: UUID, upload_id: UUID) -> Path:
        """A file with the archive's bytes. Errors: `builds.errors.UploadGone`."""
        ...

    async def drop(self, workspace_id: UUID, upload_id: UUID) -> None:
        """Remove the archive; no error where it is gone."""
        ...

    async def kept(self, idle_seconds: float) -> Mapping[tuple[UUID, UUID], int]:
        """The archives that came in at least so long ago: (workspace, upload) → size in bytes."""
        ...

    async def drop_broken(self, idle_seconds: float, *, is_trial: bool = False) -> Freed:
        """Remove what broke off on its way in and got nothing for so long; in a trial only tell."""
        ...
