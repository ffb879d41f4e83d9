"""What builds ask of the world."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable
from uuid import UUID

from trackside.rooms.builds.model import BuildOrder, Commit, GitCredentials, GitSource, Image

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
    """Runs builds, with limits. Errors: `builds.errors.BuildFailed` (with `limit` where one ended it), `BuildCancelled`."""

    async def build(self, order: BuildOrder, log: BuildLog) -> str:
        """Build the order's tree; the content id (`sha256:…`) of the image on the build side. Idempotent by cache."""
        ...

    async def cancel(self, build_id: UUID) -> None:
        """End a running build at once and leave nothing of it behind; no error where none runs."""
        ...

    async def publish(self, image_id: str, labels: Mapping[str, str], log: BuildLog) -> Image:
        """Move a built image to the engine that runs apps (a no-op where it is there already)."""
        ...


class Images(Protocol):
    """The images of the engine that runs apps. Errors: `builds.errors.ImageUnavailable`."""

    async def pull(self, reference: str, log: BuildLog) -> Image:
        """Fetch an image by reference; one that is on the engine by that very content id is not fetched again."""
        ...

    async def inspect(self, image_id: str) -> Image | None:
        """The image with this content id, or None."""
        ...

    async def keep(self, image_id: str, name: str) -> None:
        """Hold an image under a name of ours (`trackside/<installation>/…`), so that no foreign clean-up takes it."""
        ...

    async def kept(self) -> Mapping[str, str]:
        """Every name that `keep` gave on this installation, with the content id it holds."""
        ...

    async def release(self, names: Sequence[str]) -> None:
        """Give up names; an image without any name left and without a container is removed by this."""
        ...


@runtime_checkable
class Uploads(Protocol):
    """Keeps uploaded archives."""

    async def receive(self, workspace_id: UUID, upload_id: UUID, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store the bytes as they come; (SHA-256 in hex, size). Errors: `ArchiveRefused` (too large)."""
        ...

    async def path(self, workspace_id: UUID, upload_id: UUID) -> Path:
        """A file with the archive's bytes. Errors: `builds.errors.SourceRefused` where it is gone."""
        ...
