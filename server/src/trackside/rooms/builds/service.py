"""Use cases of builds: receiving uploads, fetching sources, and turning a snapshot into an image. No deployment is known here."""

import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.db import Emptied, Transaction
from trackside.kit.ids import new_id, parse_id
from trackside.rooms.access.model import Actor, Permission
from trackside.rooms.builds import errors, events, plan, store
from trackside.rooms.builds.model import (
    BuildOrder,
    BuildSettings,
    GitCredentials,
    GitSource,
    Image,
    ImageSource,
    Snapshot,
    Source,
    Upload,
    UploadSource,
)
from trackside.rooms.builds.ports import Builder, BuildLog, Images, Sources, Uploads
from trackside.rooms.projects import service as projects
from trackside_planner import DirectoryTree

PROJECTIONS = store.PROJECTIONS
"""How this room's events are folded; joined by bootstrap."""
READ_MODELS = Emptied(shared=(), workspace=store.READ_MODELS)
"""What a replay empties and rebuilds."""


@dataclass(frozen=True)
class Wanted:
    """What is to become an image, by value."""

    build_id: UUID
    workspace_id: UUID
    service_instance_id: UUID
    settings: BuildSettings
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Built:
    """An image, with what its plan says of it (None: an image says it itself)."""

    image: Image
    plan: plan.PlannedBuild | None
    variable_names: tuple[str, ...] = ()


def source_of(value: Mapping[str, Any]) -> Source:
    """The source a person or the config wrote. Errors: `SourceRefused`, naming what is wrong."""
    match value.get("kind"):
        case "git" if isinstance(value.get("url"), str):
            return GitSource(
                url=value["url"],
                reference=_text(value, "reference"),
                directory=_text(value, "directory") or "",
                token_secret=_id(value, "token_secret"),
                key_secret=_id(value, "key_secret"),
                known_host=_text(value, "known_host"),
            )
        case "upload":
            upload_id = _id(value, "upload_id")
            if upload_id is not None:
                return UploadSource(upload_id, _text(value, "sha256") or "", _text(value, "directory") or "")
        case "image" if isinstance(value.get("reference"), str) and value["reference"].strip():
            return ImageSource(value["reference"].strip())
        case _:
            pass
    raise errors.SourceRefused("A source is a git URL, an upload or an image; this is none of them.")


def _text(value: Mapping[str, Any], key: str) -> str | None:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise errors.SourceRefused(f"`source.{key}` must be text.")
    return found or None


def _id(value: Mapping[str, Any], key: str) -> UUID | None:
    found = _text(value, key)
    if found is None:
        return None
    identity = parse_id(found)
    if identity is None:
        raise errors.SourceRefused(f"`source.{key}` must be an id.")
    return identity


async def receive_upload(
    tx: Transaction, actor: Actor, uploads: Uploads, instance_id: UUID, chunks: AsyncIterator[bytes]
) -> Upload:
    """Keep an archive as it comes in, never as a whole in memory. Errors: `ArchiveRefused` (too large)."""
    await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_CREATE)
    upload_id = new_id()
    sha256, size = await uploads.receive(tx.workspace, upload_id, chunks)
    await stream.record(tx, events.UploadReceived(upload_id, instance_id, sha256, size))
    return Upload(upload_id, instance_id, sha256, size)


async def upload_of(tx: Transaction, source: UploadSource) -> Upload:
    """The upload a source names, in the bound workspace. Errors: `SourceRefused`."""
    found = await store.upload(tx, source.upload_id)
    if found is None:
        raise errors.SourceRefused("The upload does not exist.", hint="Upload the directory again: `trackside up`.")
    return found


def sub_directory(tree: Path, directory: str) -> Path:
    """The directory to build, inside the fetched tree. Errors: `SourceRefused`."""
    root = tree.resolve()
    found = (root / directory.strip("/")).resolve()
    if not found.is_relative_to(root):
        raise errors.SourceRefused(
            f"The directory `{directory}` leads out of the source.", hint="Give a path within the source."
        )
    if not found.is_dir():
        raise errors.SourceRefused(f"The source has no directory `{directory}`.", hint="Correct the path (`--path`).")
    return found


@dataclass(frozen=True)
class Workshop:
    """Where builds lay their sources out, and the labels that their images carry."""

    directory: Path
    labels: Mapping[str, str]


class Builds:
    """Turns sources into images on the engine that runs apps."""

    def __init__(
        self, sources: Sources, builder: Builder, images: Images, uploads: Uploads, workshop: Workshop
    ) -> None:
        self._sources = sources
        self._builder = builder
        self._images = images
        self._uploads = uploads
        self._workshop = workshop

    async def pull(self, source: ImageSource, log: BuildLog) -> Built:
        """An image that exists already. Errors: `ImageUnavailable`."""
        return Built(await self._images.pull(source.reference, log), None)

    async def fetch(
        self, wanted: Wanted, source: GitSource | UploadSource, credentials: GitCredentials, log: BuildLog
    ) -> Snapshot:
        """Lay the source out in a fresh directory of this build. Errors: `SourceRefused`, `SourceUnreachable`, `ArchiveRefused`."""
        into = self._directory(wanted.build_id)
        into.mkdir(parents=True)
        if isinstance(source, GitSource):
            commit = await self._sources.fetch_git(source, credentials, into, log)
            return Snapshot(sub_directory(into, source.directory), commit)
        await self._sources.unpack(await self._uploads.path(wanted.workspace_id, source.upload_id), into)
        return Snapshot(sub_directory(into, source.directory))

    async def build(self, wanted: Wanted, snapshot: Snapshot, log: BuildLog) -> tuple[str, plan.PlannedBuild]:
        """Plan and build; the image's content id on the build side. Errors: `PlanFailed`, `BuildFailed`."""
        planned = plan.plan(wanted.settings, DirectoryTree(snapshot.tree))
        for reason in planned.reasons:
            await log(str(reason))
        order = BuildOrder(
            build_id=wanted.build_id,
            workspace_id=wanted.workspace_id,
            service_instance_id=wanted.service_instance_id,
            tree=snapshot.tree,
            dockerfile=planned.dockerfile,
            is_planned=planned.is_planned,
            target=wanted.settings.target,
            build_arguments=wanted.settings.build_arguments,
            variables=wanted.variables,
            labels=self._workshop.labels,
        )
        return await self._builder.build(order, log), planned

    async def publish(self, image_id: str, planned: plan.PlannedBuild, log: BuildLog) -> Built:
        """Move a built image to the engine that runs apps."""
        image = await self._builder.publish(image_id, self._workshop.labels, log)
        return Built(image, planned, tuple(sorted(plan.variable_names(planned))))

    async def cancel(self, build_id: UUID) -> None:
        """End a build that runs, leaving nothing behind."""
        await self._builder.cancel(build_id)

    async def keep(self, image_id: str, service_instance_id: UUID, deployment_id: UUID) -> None:
        """Hold an image for a deployment."""
        await self._images.keep(image_id, f"{service_instance_id.hex}/{deployment_id.hex}")

    async def keep_only(self, service_instance_id: UUID, deployment_ids: set[UUID]) -> None:
        """Give up what this service instance holds for other deployments than these."""
        prefix = f"{service_instance_id.hex}/"
        wanted = {f"{prefix}{deployment_id.hex}" for deployment_id in deployment_ids}
        held = await self._images.kept()
        await self._images.release([name for name in held if name.startswith(prefix) and name not in wanted])

    def tidy(self, build_id: UUID) -> None:
        """Remove the build's directory; no error where there is none."""
        shutil.rmtree(self._directory(build_id), ignore_errors=True)

    def _directory(self, build_id: UUID) -> Path:
        return self._workshop.directory / build_id.hex
