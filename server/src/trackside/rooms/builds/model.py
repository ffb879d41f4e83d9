"""Values of the builds room: sources, snapshots, build orders, images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from uuid import UUID


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
    """What the environment config says of a build (`build.*` of a service, Railway's names in snake case)."""

    builder: str = "AUTO"  # AUTO: a Dockerfile where there is one, else zero-config; DOCKERFILE; RAILPACK (zero-config)
    dockerfile_path: str | None = None
    target: str | None = None
    build_arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    build_command: str | None = None
    start_command: str | None = None


@dataclass(frozen=True)
class BuildOrder:
    """One build, complete and by value. `variables` are the build's variables (opened), byte-exact."""

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
