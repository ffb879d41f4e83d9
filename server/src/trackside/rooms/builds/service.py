"""Use cases of builds: receiving uploads, fetching sources, and turning a snapshot into an image. No deployment is known here."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from trackside.kit import events as stream
from trackside.kit.apart import apart
from trackside.kit.db import Database, Emptied, Transaction
from trackside.kit.garbage import Freed
from trackside.kit.ids import new_id, parse_id
from trackside.kit.paths import flaw_of_path
from trackside.kit.urls import flaw_of_url
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
from trackside.rooms.identity import service as identity
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.errors import SecretInUrl
from trackside_planner import DirectoryTree

PROJECTIONS = store.PROJECTIONS
"""How this room's events are folded; joined by bootstrap."""
READ_MODELS = Emptied(shared=(), workspace=store.READ_MODELS)
"""What a replay empties and rebuilds."""
IDLE_UPLOAD = 3600.0
"""Seconds after which an archive that nobody writes to and that is not on record was left behind by a killed process."""
PUBLISH_TRIES = 5
"""How often an image is published that others take away before it is held."""


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
    """The source a person or the config wrote. Errors: `SourceRefused`, naming what is wrong; `SecretInUrl`."""
    match value.get("kind"):
        case "git" if isinstance(value.get("url"), str):
            return GitSource(
                url=_url(value["url"]),
                reference=_text(value, "reference"),
                directory=_directory(value),
                token_secret=_id(value, "token_secret"),
                key_secret=_id(value, "key_secret"),
                known_host=_text(value, "known_host"),
            )
        case "upload":
            upload_id = _id(value, "upload_id")
            if upload_id is not None:
                return UploadSource(upload_id, _text(value, "sha256") or "", _directory(value))
        case "image" if isinstance(value.get("reference"), str) and value["reference"].strip():
            return ImageSource(value["reference"].strip())
        case _:
            pass
    raise errors.SourceRefused("A source is a git URL, an upload or an image; this is none of them.")


def _url(text: str) -> str:
    """Judged here already and not only when it is fetched: what is accepted is kept for ever."""
    if flaw := flaw_of_url(text):
        raise SecretInUrl(f"`source.url` {flaw}.")
    return text


def _text(value: Mapping[str, Any], key: str) -> str | None:
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise errors.SourceRefused(f"`source.{key}` must be text.")
    return found or None


def _directory(value: Mapping[str, Any]) -> str:
    found = _text(value, "directory") or ""
    if flaw := flaw_of_path(found):
        raise errors.SourceRefused(f"`source.directory` {flaw}.", hint="Give a path within the source (`--path`).")
    return found


def _id(value: Mapping[str, Any], key: str) -> UUID | None:
    found = _text(value, key)
    if found is None:
        return None
    identity = parse_id(found)
    if identity is None:
        raise errors.SourceRefused(f"`source.{key}` must be an id.")
    return identity


async def receive_upload(
    database: Database, actor: Actor, uploads: Uploads, instance_id: UUID, chunks: AsyncIterator[bytes]
) -> Upload:
    """Keep an archive as it comes in, never as a whole in memory. Errors: `ArchiveRefused` (too large).

    It may come slowly: no transaction is open meanwhile.
    """
    workspace_id, upload_id = actor.grants[0].workspace_id, new_id()
    async with database.transaction(workspace_id) as tx:
        await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_CREATE)
    sha256, size = await uploads.receive(workspace_id, upload_id, chunks)
    try:
        async with database.transaction(workspace_id, actor=actor.as_record()) as tx:
            await stream.lock(tx)  # so that a deletion comes before this look, or finds the upload on record
            await projects.read_instance(tx, actor, instance_id, Permission.DEPLOYMENT_CREATE)
            await stream.record(tx, events.UploadReceived(upload_id, instance_id, sha256, size))
            return await upload_of(tx, UploadSource(upload_id, sha256))
    except BaseException:
        await uploads.drop(workspace_id, upload_id)
        raise


async def upload_of(tx: Transaction, source: UploadSource) -> Upload:
    """The upload a source names, in the bound workspace. Errors: `UploadGone`."""
    found = await store.upload(tx, source.upload_id)
    if found is None:
        raise errors.UploadGone("There is no such upload: it is no longer kept, or never was.")
    return found


async def all_uploads(tx: Transaction) -> list[Upload]:
    """The uploads on record in the bound workspace, the oldest first."""
    return await store.all_uploads(tx)


async def strike_off(tx: Transaction, uploads: Iterable[Upload]) -> None:
    """Have uploads on record no longer; their archives are to be dropped after that, or go as what is on no record."""
    for upload in uploads:
        await stream.record(tx, events.UploadDropped(upload.id, upload.service_instance_id))


async def uploads_of(tx: Transaction, instance_ids: Sequence[UUID]) -> list[UUID]:
    """The uploads on record that were made for service instances."""
    return await store.uploads_of(tx, instance_ids)


async def forget_uploads(tx: Transaction, instance_id: UUID) -> None:
    """Strike a deleted service instance's uploads off the record; the archives are gone already."""
    if await store.uploads_of(tx, [instance_id]):
        await stream.record(tx, events.UploadsForgotten(instance_id))


def sub_directory(tree: Path, directory: str) -> Path:
    """The directory to build, inside the fetched tree. Errors: `SourceRefused`."""
    root = tree.resolve()
    try:
        found = (root / directory.strip("/")).resolve()
    except RuntimeError as error:
        raise errors.SourceRefused(
            f"The directory `{directory}` is a link that leads in a circle.",
            hint="Mend the link, or give another path.",
        ) from error
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

    async def pull(self, wanted: Wanted, source: ImageSource, log: BuildLog, *, from_engine: bool) -> Built:
        """An image that exists already, held for the deployment. Errors: `ImageUnavailable`.

        `from_engine`: whether this very content may be had without asking its registry.
        """
        name = _name(wanted.service_instance_id, wanted.build_id)
        return Built(await self._images.pull(source.reference, log, name, from_engine=from_engine), None)

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
        """Plan and build; the image's content id on the build side. Errors: `PlanFailed`, those of `Builder`."""
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
            ignore=planned.ignore,
        )
        return await self._builder.build(order, log), planned

    async def publish(self, wanted: Wanted, image_id: str, planned: plan.PlannedBuild, log: BuildLog) -> Built:
        """Move a built image to the engine that runs apps, and hold it for the deployment. Errors: `ImageUnavailable`, `EngineAway`.

        Equal sources make equal images: one that is there already may be another service's, and go with it at any moment.
        """
        name = _name(wanted.service_instance_id, wanted.build_id)
        tries_left = PUBLISH_TRIES
        while True:
            tries_left -= 1
            try:
                image = await self._builder.publish(image_id, self._workshop.labels, log)
                await self._images.keep(image.id, name)
            except errors.ImageGone:
                if not tries_left:
                    raise
            else:
                return Built(image, planned, tuple(sorted(plan.variable_names(planned))))

    async def cancel(self, build_id: UUID) -> None:
        """End a build that runs, leaving nothing behind."""
        await self._builder.cancel(build_id)

    async def held(self, service_instance_id: UUID) -> dict[UUID, str]:
        """The images held for deployments of a service instance: deployment → content id."""
        prefix = f"{service_instance_id.hex}/"
        held = await self._images.kept()
        return {UUID(name.removeprefix(prefix)): image for name, image in held.items() if name.startswith(prefix)}

    async def all_held(self) -> dict[UUID, dict[UUID, str]]:
        """The images held for deployments, of all workspaces: service instance → deployment → content id."""
        found: dict[UUID, dict[UUID, str]] = {}
        for name, image_id in (await self._images.kept()).items():
            instance, _, deployment = name.partition("/")
            ids = parse_id(instance), parse_id(deployment)
            if ids[0] and ids[1]:
                found.setdefault(ids[0], {})[ids[1]] = image_id
        return found

    async def sizes(self, image_ids: Collection[str]) -> dict[str, int]:
        """The images' sizes in bytes, by content id; without those that are gone."""
        found = [await self._images.inspect(image_id) for image_id in set(image_ids)]
        return {image.id: image.size_bytes for image in found if image}

    async def collect_unnamed(self, *, is_trial: bool) -> Freed:
        """Remove built images that nobody holds: their build was killed before it came to that."""
        sizes = await self._images.unnamed()
        if not is_trial:
            await self._images.release([])  # what containers held until now
            await self._images.drop_unnamed()
        return Freed("built images without a deployment", len(sizes), sum(sizes.values()))

    def laid_out(self) -> frozenset[UUID]:
        """The builds whose sources are on disk."""
        directory = self._workshop.directory
        found = (parse_id(path.name) for path in directory.iterdir()) if directory.is_dir() else ()
        return frozenset(build_id for build_id in found if build_id)

    async def collect(self, laid_out: Collection[UUID], preparing: Collection[UUID], *, is_trial: bool) -> list[Freed]:
        """Drop what is left of builds: sources whose build is over, and what their engine keeps beyond its allowance."""
        gone = [build_id for build_id in laid_out if build_id not in preparing]
        freed = [Freed("sources of ended builds", len(gone))] if gone else []
        for build_id in gone if not is_trial else ():
            await asyncio.to_thread(self.tidy, build_id)
        return [*freed, *await self._builder.collect(is_idle=not preparing, is_trial=is_trial)]

    async def make_room(self, *, is_idle: bool) -> None:
        """Drop whatever builds can make anew, but what one that is under way needs."""
        await self._builder.make_room(is_idle=is_idle)

    async def give_up(self, service_instance_id: UUID, deployment_ids: Collection[UUID]) -> None:
        """No longer hold images for these deployments; an image that nothing else holds or runs goes."""
        await self._images.release([_name(service_instance_id, one) for one in sorted(deployment_ids)])

    async def drop_uploads(self, workspace_id: UUID, upload_ids: Collection[UUID]) -> None:
        """Remove archives; no error where they are gone."""
        for upload_id in sorted(upload_ids):
            await self._uploads.drop(workspace_id, upload_id)

    async def collect_uploads(
        self, database: Database, *, is_trial: bool = False, idle_seconds: float = IDLE_UPLOAD
    ) -> list[Freed]:
        """Remove what a killed process left: archives that broke off on their way in, or never came on record."""
        broken = await self._uploads.drop_broken(idle_seconds, is_trial=is_trial)
        sizes = await self._uploads.kept(idle_seconds)
        unrecorded = await self._unrecorded(database, sizes)
        for workspace_id, upload_id in unrecorded if not is_trial else ():
            await self._uploads.drop(workspace_id, upload_id)
        size = sum(sizes[one] for one in unrecorded)
        return [one for one in (broken, Freed("uploads without a record", len(unrecorded), size)) if one.count]

    async def _unrecorded(self, database: Database, uploads: Iterable[tuple[UUID, UUID]]) -> list[tuple[UUID, UUID]]:
        """Those of the uploads, each with its workspace, that are on no record."""
        kept: dict[UUID, set[UUID]] = {}
        for workspace_id, upload_id in uploads:
            kept.setdefault(workspace_id, set()).add(upload_id)
        async with database.transaction() as tx:
            workspaces = {workspace.id for workspace in await identity.all_workspaces(tx)}
        found: list[tuple[UUID, UUID]] = []
        for workspace_id in sorted(workspaces & kept.keys()):
            with apart("the look for uploads that were left behind", workspace_id):
                async with database.transaction(workspace_id) as tx:
                    unknown = kept[workspace_id] - await store.recorded(tx, kept[workspace_id])
                found += [(workspace_id, upload_id) for upload_id in sorted(unknown)]
        return found

    def tidy(self, build_id: UUID) -> None:
        """Remove the build's directory; no error where there is none."""
        shutil.rmtree(self._directory(build_id), ignore_errors=True)

    def _directory(self, build_id: UUID) -> Path:
        return self._workshop.directory / build_id.hex


def _name(service_instance_id: UUID, deployment_id: UUID) -> str:
    """What an image is held by."""
    return f"{service_instance_id.hex}/{deployment_id.hex}"
