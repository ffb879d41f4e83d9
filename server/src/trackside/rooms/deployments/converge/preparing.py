"""Source → image, for one deployment: each step written down, ended at once when the deployment is cancelled or superseded."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from uuid import UUID

import msgspec

from trackside.kit import events as stream
from trackside.kit.db import Database, Transaction
from trackside.kit.errors import TracksideError
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.model import BuildSettings, Commit, GitCredentials, GitSource, ImageSource, Source
from trackside.rooms.builds.ports import BuildLog
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments.converge.writing import fail
from trackside.rooms.deployments.model import PREPARING, Deployment, ImageFacts, Status, StepName
from trackside.rooms.deployments.ports import Logs
from trackside.rooms.projects import service as projects

WATCH = 0.3
"""Seconds between looks whether a build is still wanted."""


class Unwanted(Exception):
    """The deployment was cancelled or superseded while it was prepared."""


@dataclass(frozen=True)
class Task:
    """One deployment to prepare, with everything opened that it needs."""

    workspace_id: UUID
    deployment: Deployment
    source: Source
    wanted: builds.Wanted
    credentials: GitCredentials


class Preparer:
    """Makes images for deployments."""

    def __init__(self, database: Database, rooms: builds.Builds, vault: projects.Vault, logs: Logs) -> None:
        self._database = database
        self._builds = rooms
        self._vault = vault
        self._logs = logs

    async def prepare(self, workspace_id: UUID, deployment_id: UUID) -> None:
        """Bring a deployment from QUEUED to DEPLOYING or FAILED; does nothing where that is done or no longer wanted."""
        try:
            task = await self._load(workspace_id, deployment_id)
            if task is not None:
                await self._while_wanted(task, self._run(task))
        except Unwanted:
            await self._builds.cancel(deployment_id)
        except TracksideError as error:
            await self._fail(workspace_id, deployment_id, error)
        finally:
            self._builds.tidy(deployment_id)

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
                build_settings(deployment.build),
                await self._vault.open(tx, deployment.variables),
            )
            return Task(workspace_id, deployment, source, wanted, await self._credentials(tx, source))

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
                if not running.done() and not await self._is_wanted(task):
                    raise Unwanted
            await running
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, TracksideError, Unwanted):
                await running

    async def _is_wanted(self, task: Task) -> bool:
        async with self._database.transaction(task.workspace_id) as tx:
            found = await store.deployment(tx, task.deployment.id)
        return found is not None and found.status in PREPARING

    async def _run(self, task: Task) -> None:
        log = self._logs.build_log(task.workspace_id, task.deployment.id)
        built = await (
            self._pull(task, task.source, log) if isinstance(task.source, ImageSource) else self._build(task, log)
        )
        await self._builds.keep(built.image.id, task.deployment.service_instance_id, task.deployment.id)
        facts = facts_of(built)
        async with self._still_wanted(task) as tx:
            await stream.record(
                tx,
                events.DeploymentProgressed(task.deployment.id, str(Status.DEPLOYING)),
                events.ImageReady(task.deployment.id, task.deployment.service_instance_id, asdict(facts)),
            )

    async def _pull(self, task: Task, source: ImageSource, log: BuildLog) -> builds.Built:
        async with self._step(task, StepName.PUBLISH_IMAGE):
            return await self._builds.pull(source, log)

    async def _build(self, task: Task, log: BuildLog) -> builds.Built:
        assert not isinstance(task.source, ImageSource)
        async with self._still_wanted(task) as tx:
            await stream.record(tx, events.DeploymentProgressed(task.deployment.id, str(Status.BUILDING)))
        self._builds.tidy(task.deployment.id)
        async with self._step(task, StepName.SNAPSHOT_CODE):
            snapshot = await self._builds.fetch(task.wanted, task.source, task.credentials, log)
        async with self._still_wanted(task) as tx:
            await stream.record(tx, events.SourceResolved(task.deployment.id, commit_of(snapshot.commit)))
        async with self._step(task, StepName.BUILD_IMAGE):
            image_id, planned = await self._builds.build(task.wanted, snapshot, log)
        async with self._step(task, StepName.PUBLISH_IMAGE):
            return await self._builds.publish(image_id, planned, log)

    @asynccontextmanager
    async def _step(self, task: Task, step: StepName) -> AsyncGenerator[None]:
        async with self._still_wanted(task) as tx:
            await stream.record(tx, events.StepStarted(task.deployment.id, str(step)))
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
                await fail(tx, found, error.sentence, error.hint)


def build_settings(build: Mapping[str, object]) -> BuildSettings:
    """`build.*` of the config, in Railway's keys."""
    keys = {
        "builder": "builder",
        "dockerfilePath": "dockerfile_path",
        "dockerfileTarget": "target",
        "buildArguments": "build_arguments",
        "buildCommand": "build_command",
    }
    values = {ours: build[theirs] for theirs, ours in keys.items() if build.get(theirs) is not None}
    return msgspec.convert(values, BuildSettings)


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
        start_command=planned.start_command if planned else None,
        pre_deploy_command=planned.pre_deploy_command if planned else None,
        expects_port=planned.port_expected if planned and planned.is_planned else None,
        build_variables=built.variable_names,
    )
