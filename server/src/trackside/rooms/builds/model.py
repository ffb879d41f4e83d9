"""Values of the builds room: sources, snapshots, build orders, images."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class GitSource:
    """A git repository at a branch, tag or commit (`reference`; None = the remote's default branch).

    `directory` is the sub-directory to build, relative to the root of the repository. Credentials are secret version ids,
    never values: `token_secret` for https, `key_secret` (a private deploy key) with `known_host` (one line of known_hosts,
    the pinned host key) for ssh.
    """

    url: str
    reference: str | None = None
    directory: str = ""
    token_secret: UUID | None = None
    key_secret: UUID | None = None
    known_host: str | None = None
    kind: str = "git"


@dataclass(frozen=True)
class UploadSource:
    """An archive that was uploaded: its id and the SHA-256 of its bytes."""

    upload_id: UUID
    sha256: str
    directory: str = ""
    kind: str = "upload"


@dataclass(frozen=True)
class ImageSource:
    """An image that exists already, by reference (`name:tag`, `name@sha256:…`, or `sha256:…` for one on the engine)."""

    reference: str
    kind: str = "image"

    @property
    def digest(self) -> str | None:
        """The one content that the reference means; None for a name, which may mean another one tomorrow."""
        found = self.reference.rpartition("@")[2]
        return found if _DIGEST.fullmatch(found) else None

    @property
    def is_content_id(self) -> bool:
        """Whether it names nothing but a content, which no registry can be asked for."""
        return self.reference == self.digest


Source = GitSource | UploadSource | ImageSource


@dataclass(frozen=True)
class GitCredentials:
    """Opened credentials for one fetch; they live in memory and in files of one temporary directory only."""

    token: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    known_host: str | None = None


@dataclass(frozen=True)
class Commit:
    sha: str
    author: str = ""
    message: str = ""
    branch: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """A source on disk: `tree` is the directory to build (sub-directory applied)."""

    tree: Path
    commit: Commit | None = None


class Limit(StrEnum):
    """Which limit ended a build."""

    MEMORY = "memory"
    DISK = "disk"
    TIME = "time"


@dataclass(frozen=True)
class BuildSettings:
    """What the environment config says of a build (`build.*` of a service, Railway's names in snake case).

    `builder`: AUTO is a Dockerfile where there is one, else zero-config; DOCKERFILE and RAILPACK (zero-config) are one of the
    two outright. NIXPACKS, which older configs of Railway's name, means AUTO: there too a Dockerfile goes before it.
    `start_command` is that of `deploy.*`: a recognised app may have no other.
    """

    builder: str = "AUTO"
    dockerfile_path: str | None = None
    target: str | None = None
    build_arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    build_command: str | None = None
    start_command: str | None = None


@dataclass(frozen=True)
class BuildOrder:
    """One build, complete and by value. `variables` are the build's variables (opened), byte-exact.

    `ignore`: what is left out of the tree in place of what its `.dockerignore` says; None: that holds.
    """

    build_id: UUID  # the deployment's id: one build per deployment
    workspace_id: UUID
    service_instance_id: UUID
    tree: Path
    dockerfile: str  # the text to build, ours or the user's
    is_planned: bool  # True where the planner wrote the Dockerfile
    target: str | None = None
    build_arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    ignore: str | None = None


@dataclass(frozen=True)
class ImageConfig:
    """What an image says of itself."""

    exposed_ports: tuple[int, ...] = ()  # TCP only, ascending
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str | None = None


@dataclass(frozen=True)
class Image:
    """An image on the engine that runs apps: content id (`sha256:…`) and, where it came from a registry, its digest there."""

    id: str
    digest: str | None = None
    config: ImageConfig = field(default_factory=ImageConfig)
    size_bytes: int = 0


@dataclass(frozen=True)
class Upload:
    """An archive that was uploaded for a service instance."""

    id: UUID
    service_instance_id: UUID
    sha256: str
    size_bytes: int
    received_at: datetime


def source_text(source: Mapping[str, Any]) -> str:
    """A source, as the config has it, in a few words: `example.com/app@main`, `image app:1`, `an upload`."""
    kind = source.get("kind")
    if kind == "image":
        return f"image {source.get('reference') or ''}".rstrip()
    if kind != "git":
        return "an upload" if kind == "upload" else "its source"
    url = str(source.get("url") or "")
    where = (url.partition("://")[2] or url).rpartition("@")[2].removesuffix(".git")
    return f"{where}@{source['reference']}" if source.get("reference") else where


@dataclass(frozen=True)
class DiskSpace:
    """A disk that deployments fill: what is on it, in words; where; bytes free and in all."""

    name: str
    place: str
    free_bytes: int
    total_bytes: int
    is_for_builds: bool = False  # only builds need room on it


@dataclass(frozen=True)
class LeastSpace:
    """From when on a disk is low: with less free than so many bytes or so many per cent of it, whichever is less."""

    size_bytes: int = 2 << 30
    percent: float = 5.0

    def of(self, space: DiskSpace) -> int:
        """Bytes that must be free."""
        return min(self.size_bytes, int(space.total_bytes * self.percent / 100))

    def is_low(self, space: DiskSpace) -> bool:
        return space.free_bytes < self.of(space)

    def sentence(self, space: DiskSpace) -> str:
        """How it stands with the disk, for people."""
        return f"The disk of {space.name} is low: {space.free_bytes >> 20} MiB are free, {self.of(space) >> 20} MiB are needed."
