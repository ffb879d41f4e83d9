"""Source → image, for one deployment: each step written down, ended at once when the deployment is cancelled or superseded."""

import asyncio
import contextlib
import errno
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.exc import DataError, SQLAlchemyError

from trackside.kit import events as stream
from trackside.kit import failpoints
from trackside.kit.db import Database, Transaction
from trackside.kit.errors import Kind, TracksideError
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.errors import EngineAway, EngineLost
from trackside.rooms.builds.model import BuildSettings, Commit, GitCredentials, GitSource, ImageSource, Source
from trackside.rooms.builds.ports import BuildLog
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments.converge.space import SpaceGuard
from trackside.rooms.deployments.converge.trouble import hold_up, resume
from trackside.rooms.deployments.converge.writing import fail
from trackside.rooms.deployments.model import PREPARING, Deployment, ImageFacts, Status, StepName
from trackside.rooms.deployments.plan.images import may_come_from_engine
from trackside.rooms.deployments.ports import Logs
from trackside.rooms.projects import service as projects

WATCH = 0.3
"""Seconds between looks whether a build is still wanted."""
MENDED = 3.0
"""Seconds for which a try has to go on until what held up the one before counts as mended."""
MOST_LOST = 3
"""So often a build may lose its engine until it is held to be the build that kills it."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
LASTING = frozenset(
    {
        errno.E2BIG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EOVERFLOW,
    }
)
"""What the system refuses for what it was given: it would refuse it at every try."""

log = structlog.get_logger()
failpoints.declare_around([StepName.SNAPSHOT_CODE, StepName.BUILD_IMAGE, StepName.PUBLISH_IMAGE])


class BuildBroke(TracksideError):
    code = "deployments.build_broke"
    kind = Kind.UNAVAILABLE
    hint = "The platform's log has the details under the deployment's id."


class BuildKills(TracksideError):
    """An engine that dies again and again serves nobody; the build may be why, or one beside it."""

    code = "deployments.build_kills"
    kind = Kind.UNAVAILABLE
    hint = (
        "Look into `logs/platform/build-engine.log` and `engine.log` of the state directory for why, then deploy again."
    )


class NoRoom(TracksideError):
    code = "deployments.no_room"
    kind = Kind.LIMIT
    hint = "Make room on the disk of the state directory (`trackside server doctor` names it), then deploy again."


class SourceUnusable(TracksideError):
    code = "deployments.source_unusable"
    kind = Kind.INVALID
    hint = (
        "Look in the source and its build settings for a path or value that is far too long, links in a circle, or a file where"
        " a directory is meant; the build log says how far it came."
    )


class BuildWaits(TracksideError):
    """The builder can't go on for now; it tries again every few seconds."""

    code = "deployments.build_waits"
    kind = Kind.UNAVAILABLE
    hint = "Look at `trackside server doctor`; the platform tries again by itself."


class Unwanted(Exception):
    """The deployment was cancelled or superseded while it was prepared."""


@dataclass
class Progress:
    """How far this try has come: its last step, and since when (in the loop's time)."""

    step: StepName | None
    since: float


@dataclass(frozen=True)
class Task:
    """One deployment to prepare, with everything opened that it needs."""

    workspace_id: UUID
    deployment: Deployment
    source: Source
    wanted: builds.Wanted
    credentials: GitCredentials
    from_engine: bool
    progress: Progress


@dataclass(frozen=True)
class PreparingParts:
    """What preparing works with."""

    database: Database
    builds: builds.Builds
    vault: projects.Vault
    logs: Logs
    space: SpaceGuard


class Preparer:
    """Makes images for deployments. `is_engine_open`: images on the engine may be deployed by whoever knows their content id."""

    def __init__(self, parts: PreparingParts, *, is_engine_open: bool) -> None:
        self._database = parts.database
        self._builds = parts.builds
        self._vault = parts.vault
        self._logs = parts.logs
        self._space = parts.space
        self._is_engine_open = is_engine_open
        self._preparing: set[UUID] = set()
        self._lost = Counter[UUID]()

    async def prepare(self, workspace_id: UUID, deployment_id: UUID) -> None:
        """Bring a deployment from QUEUED (an existing image) or BUILDING to DEPLOYING or FAILED.

        Does nothing where that is done or no longer wanted.
        """
        if deployment_id in self._preparing:
            return  # a job that was given to another, for its worker was silent too long, may be ours still
        self._preparing.add(deployment_id)
        try:
            await self._prepare(workspace_id, deployment_id)
            self._lost.pop(deployment_id, None)
        except EngineAway as error:
            if self._has_lost(deployment_id, error):
                log.exception("an engine died again and again in a build", deployment=str(deployment_id))
                await self._fail(workspace_id, deployment_id, BuildKills(f"{error.sentence} That was the third time."))
                del self._lost[deployment_id]
                return
            await self._hold_up(workspace_id, deployment_id, error)
            raise
        except OSError as error:
            lasting = lasting_fault(error)
            if lasting is None:
                what = error.strerror or type(error).__name__
                waits = BuildWaits(f"The platform's machine does not let it be prepared: {what}.")
                await self._hold_up(workspace_id, deployment_id, waits)
                raise  # the world may be better at the next try
            await self._fail(workspace_id, deployment_id, lasting)
        finally:
            self._builds.tidy(deployment_id)
            self._preparing.discard(deployment_id)

    def _has_lost(self, deployment_id: UUID, error: EngineAway) -> bool:
        """Whether the engine has died in it so often that this is no accident: others want to build too."""
        if isinstance(error, EngineLost):
            self._lost[deployment_id] += 1
        return self._lost[deployment_id] >= MOST_LOST

    async def _prepare(self, workspace_id: UUID, deployment_id: UUID) -> None:
        try:
            task = await self._load(workspace_id, deployment_id)
            if task is not None:
                await self._while_wanted(task, self._run(task))
        except Unwanted:
            await self._builds.cancel(deployment_id)
        except EngineAway:
            raise  # it says nothing of the deployment
        except TracksideError as error:
            await self._fail(workspace_id, deployment_id, error)
        except Exception as error:
            if is_of_the_world(error):
                raise
            log.exception("a build failed for a fault of ours", deployment=str(deployment_id))
            await self._fail(workspace_id, deployment_id, BuildBroke("Something went wrong on our side."))

    async def _load(self, workspace_id: UUID, deployment_id: UUID) -> Task | None:
        async with self._database.transaction(workspace_id) as tx:
            deployment = await store.deployment(tx, deployment_id)
            if deployment is None or deployment.status not in PREPARING:
                return None
            source = builds.source_of(deployment.source)
            wanted = builds.Wanted(
                deployment_id,
                workspace_id,
                deployment.service_instance_id,
                build_settings(deployment),
                await self._vault.open(tx, deployment.variables),
            )
            from_engine = isinstance(source, ImageSource) and await comes_from_engine(tx, source, self._is_engine_open)
            credentials = await self._credentials(tx, source)
            progress = Progress(None, asyncio.get_running_loop().time())
            return Task(workspace_id, deployment, source, wanted, credentials, from_engine, progress)

    async def _credentials(self, tx: Transaction, source: Source) -> GitCredentials:
        if not isinstance(source, GitSource):
            return GitCredentials()
        named = {"token": source.token_secret, "key": source.key_secret}
        opened = await self._vault.open(tx, {name: secret for name, secret in named.items() if secret})
        return GitCredentials(opened.get("token"), opened.get("key"), source.known_host)

    async def _while_wanted(self, task: Task, work: Awaitable[None]) -> None:
        """Run the work, and end it as soon as the deployment is no longer to be prepared."""
        running = asyncio.ensure_future(work)
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=WATCH)
                if not running.done():
                    await self._look_after(task)
            await running
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, TracksideError, Unwanted):
                await running

    async def _look_after(self, task: Task) -> None:
        """Say of one that waited for the world that it waits no longer, where it goes on. Errors: `Unwanted`."""
        async with self._database.transaction(task.workspace_id) as tx:
            found = await store.deployment(tx, task.deployment.id)
        if found is None or found.status not in PREPARING:
            raise Unwanted
        if found.reason is not None and is_mended(found, task.progress):
            async with self._still_wanted(task) as tx:
                await resume(tx, task.deployment.id)

    async def _run(self, task: Task) -> None:
        log = self._logs.build_log(task.workspace_id, task.deployment.id)
        await self._space.check(is_build=not isinstance(task.source, ImageSource))
        built = await (
            self._pull(task, task.source, log) if isinstance(task.source, ImageSource) else self._build(task, log)
        )
        facts = facts_of(built)
        async with self._still_wanted(task) as tx:
            await stream.record(
                tx,
                events.DeploymentProgressed(task.deployment.id, str(Status.DEPLOYING)),
                events.ImageReady(task.deployment.id, task.deployment.service_instance_id, asdict(facts)),
            )

    async def _pull(self, task: Task, source: ImageSource, log: BuildLog) -> builds.Built:
        async with self._step(task, StepName.PUBLISH_IMAGE):
            return await self._builds.pull(task.wanted, source, log, from_engine=task.from_engine)

    async def _build(self, task: Task, log: BuildLog) -> builds.Built:
        assert not isinstance(task.source, ImageSource)
        self._builds.tidy(task.deployment.id)
        async with self._step(task, StepName.SNAPSHOT_CODE):
            snapshot = await self._builds.fetch(task.wanted, task.source, task.credentials, log)
        async with self._still_wanted(task) as tx:
            await stream.record(tx, events.SourceResolved(task.deployment.id, commit_of(snapshot.commit)))
        async with self._step(task, StepName.BUILD_IMAGE):
            image_id, planned = await self._builds.build(task.wanted, snapshot, log)
        async with self._step(task, StepName.PUBLISH_IMAGE):
            return await self._builds.publish(task.wanted, image_id, planned, log)

    @asynccontextmanager
    async def _step(self, task: Task, step: StepName) -> AsyncGenerator[None]:
        async with self._still_wanted(task) as tx:
            await stream.record(tx, events.StepStarted(task.deployment.id, str(step)))
        task.progress.step, task.progress.since = step, asyncio.get_running_loop().time()
        with failpoints.around(step):
            yield
        async with self._still_wanted(task) as tx:
            await stream.record(tx, events.StepEnded(task.deployment.id, str(step), None, False))

    @asynccontextmanager
    async def _still_wanted(self, task: Task) -> AsyncGenerator[Transaction]:
        """A transaction in which the deployment is sure to be still under preparation. Errors: `Unwanted`."""
        async with self._database.transaction(task.workspace_id) as tx:
            await stream.lock(tx)
            found = await store.deployment(tx, task.deployment.id)
            if found is None or found.status not in PREPARING:
                raise Unwanted
            yield tx

    async def _fail(self, workspace_id: UUID, deployment_id: UUID, error: TracksideError) -> None:
        async with self._database.transaction(workspace_id) as tx:
            await stream.lock(tx)
            found = await store.deployment(tx, deployment_id)
            if found is not None and found.status in PREPARING:
                await fail(tx, found, error.sentence, error.hint, error.code)

    async def _hold_up(self, workspace_id: UUID, deployment_id: UUID, error: TracksideError) -> None:
        """Say what it waits for."""
        async with self._database.transaction(workspace_id) as tx:
            await stream.lock(tx)
            found = await store.deployment(tx, deployment_id)
            if found is not None and found.status in PREPARING:
                await hold_up(tx, found, error)


def is_mended(deployment: Deployment, progress: Progress) -> bool:
    """Whether what held up the try before holds this one up no longer. An engine is needed once the source is there."""
    needs_engine = deployment.code in (EngineAway.code, EngineLost.code)
    if needs_engine and progress.step not in (StepName.BUILD_IMAGE, StepName.PUBLISH_IMAGE):
        return False
    return asyncio.get_running_loop().time() > progress.since + MENDED


def lasting_fault(error: OSError) -> TracksideError | None:
    """What ends a deployment for which the system refused something; None where that may be better at the next try."""
    if error.errno in FULL:
        return NoRoom("The disk that sources are laid out on is full.")
    if error.errno in LASTING:
        return SourceUnusable(f"The system refuses what the source or its build settings ask for: {error.strerror}.")
    return None


def is_of_the_world(error: Exception) -> bool:
    """Whether it is a fault of the machine or the database, and not of what is prepared or of ours."""
    return isinstance(error, OSError | SQLAlchemyError) and not isinstance(error, DataError)


async def comes_from_engine(tx: Transaction, source: ImageSource, is_engine_open: bool) -> bool:
    """Whether the bound workspace may have the image without asking its registry. Errors: `SourceRefused`."""
    is_on_record = source.digest is not None and await store.has_image(tx, source.digest)
    return may_come_from_engine(source, is_on_record=is_on_record, is_engine_open=is_engine_open)


def build_settings(deployment: Deployment) -> BuildSettings:
    """`build.*` of the config, in Railway's keys, and the start command."""
    keys = {
        "builder": "builder",
        "dockerfilePath": "dockerfile_path",
        "dockerfileTarget": "target",
        "buildArguments": "build_arguments",
        "buildCommand": "build_command",
    }
    build = deployment.build
    values = {ours: build[theirs] for theirs, ours in keys.items() if build.get(theirs) is not None}
    return msgspec.convert({**values, "start_command": deployment.settings.start_command}, BuildSettings)


def commit_of(commit: Commit | None) -> dict[str, str] | None:
    """The commit as events keep it."""
    if commit is None:
        return None
    return {key: value for key, value in asdict(commit).items() if value}


def facts_of(built: builds.Built) -> ImageFacts:
    """What a deployment keeps of its image."""
    image, planned = built.image, built.plan
    return ImageFacts(
        image_id=image.id,
        digest=image.digest,
        exposed_ports=image.config.exposed_ports,
        pre_deploy_command=planned.pre_deploy_command if planned else None,
        expects_port=planned.port_expected if planned and planned.is_planned else None,
        build_variables=built.variable_names,
    )
