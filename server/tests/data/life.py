"""Random operations on a workspace, through the services and, for what the engine records, through its own events."""

import random
from ipaddress import IPv4Network
from typing import Any
from uuid import UUID

from conftest import Platform
from trackside.kit import events as stream
from trackside.kit.db import Transaction
from trackside.kit.ids import new_id
from trackside.rooms.access.model import Actor, ActorKind, Grant, Role
from trackside.rooms.builds import service as builds
from trackside.rooms.builds.events import UploadReceived
from trackside.rooms.deployments import events, service
from trackside.rooms.deployments.model import Status, StepName
from trackside.rooms.identity import service as identity
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Addressing, BackendShape, Page, Probe, ProbeKind, Server
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import Deletable, ServiceInstance

ADDRESSING = Addressing("localhost", IPv4Network("10.210.0.0/16"))


class Life:
    """What happens in a workspace."""

    def __init__(self, platform: Platform, workspace_id: UUID, choose: random.Random) -> None:
        self.platform = platform
        self.workspace_id = workspace_id
        self.choose = choose
        self.actor = Actor("tester", ActorKind.TOKEN, "tester", (Grant(workspace_id, Role.OWNER),))
        self.vault = projects.Vault(platform.keyring)
        self.done: set[str] = set()
        self.missing: set[str] = set()

    async def do_something(self) -> None:
        """One operation; may be refused."""
        deeds = [
            self.create_project, self.create_service, self.create_service, self.create_environment,
            self.deploy, self.deploy, self.deploy, self.progress, self.progress, self.progress, self.progress,
            self.change_variables, self.scale, self.cancel, self.take_down, self.delete, self.roll_back,
            self.restart, self.redeploy, self.upload, self.edit_config, self.make_token, self.revoke_token,
        ]  # fmt: skip
        deed = self.choose.choice(deeds)
        await deed()
        self.done.add(deed.__name__)
        self.missing = {each.__name__ for each in deeds} - self.done

    def transaction(self) -> Any:
        return self.platform.database.transaction(self.workspace_id, actor=self.actor.as_record())

    async def create_project(self) -> None:
        async with self.transaction() as tx:
            await projects.create_project(tx, self.actor, f"p{self.choose.randrange(4)}")

    async def create_service(self) -> None:
        async with self.transaction() as tx:
            found = await projects.list_projects(tx, self.actor)
            project = self.choose.choice(found) if found else await projects.create_project(tx, self.actor, "first")
            await projects.create_service(tx, self.actor, project.id, f"s{self.choose.randrange(4)}")

    async def create_environment(self) -> None:
        async with self.transaction() as tx:
            for project in await projects.list_projects(tx, self.actor):
                await projects.create_environment(tx, self.actor, project.id, f"e{self.choose.randrange(3)}")

    async def _instance(self, tx: Transaction) -> ServiceInstance | None:
        found = [
            instance
            for project in await projects.list_projects(tx, self.actor)
            for instance in await projects.list_instances(tx, project.id)
        ]
        return self.choose.choice(found) if found else None

    async def deploy(self) -> None:
        async with self.transaction() as tx:
            if instance := await self._instance(tx):
                await service.request_deployment(
                    tx, self.actor, ADDRESSING, instance.id,
                    self.asked(),
                )  # fmt: skip

    def asked(self) -> service.Asked:
        image = {"kind": "image", "reference": f"app:{self.choose.randrange(9)}"}
        source = self.choose.choice([image, {"kind": "git", "url": "https://git.test/app"}])
        return service.Asked(source, {"deploy": {"numReplicas": self.choose.randint(1, 4)}})

    async def progress(self) -> None:
        """What the engine would record of the newest deployment: image, replicas, backend, swap, success."""
        async with self.transaction() as tx:
            instance = await self._instance(tx)
            if instance is None:
                return
            for deployment in await service.list_deployments(tx, self.actor, instance.id, 5):
                await self._advance(tx, instance, deployment)

    async def _advance(self, tx: Transaction, instance: ServiceInstance, deployment: service.Deployment) -> None:
        identity = deployment.id
        match deployment.status:
            case Status.QUEUED if deployment.source["kind"] == "git":
                await stream.record(tx, events.DeploymentProgressed(identity, str(Status.BUILDING)))
            case Status.QUEUED | Status.BUILDING:
                await stream.record(
                    tx,
                    events.StepStarted(identity, str(StepName.PUBLISH_IMAGE)),
                    events.StepEnded(identity, str(StepName.PUBLISH_IMAGE), None, False),
                    events.DeploymentProgressed(identity, str(Status.DEPLOYING)),
                    events.ImageReady(identity, instance.id, {"image_id": f"sha256:{identity.hex}"}),
                )
            case Status.DEPLOYING if self.choose.random() < 0.2:
                await stream.record(tx, events.DeploymentFailed(identity, instance.id, "It did not work.", "Mend it."))
            case Status.DEPLOYING:
                await self._serve(tx, instance, identity)
            case Status.SUCCESS if self.choose.random() < 0.3:
                await stream.record(tx, events.DeploymentCrashed(identity, "It crashed."))
                await networking.route_to_page(tx, instance.id, Page.CRASHED)
            case Status.REMOVING:
                for backend in await networking.backends_of(tx, instance.id):
                    if backend.deployment_id == identity:
                        await networking.remove_backend(tx, identity)
                for replica in await service.replicas_of(tx, [identity]):
                    await stream.record(tx, events.ReplicaRemoved(replica.id, identity))
                await stream.record(tx, events.DeploymentRemoved(identity, instance.id, None))
            case _:
                pass

    async def _serve(self, tx: Transaction, instance: ServiceInstance, identity: UUID) -> None:
        subnet = await networking.ensure_subnet(tx, ADDRESSING, instance.environment_id)
        taken = {str(r.address) for d in await service.list_deployments(tx, self.actor, instance.id, 50)
                 for r in await service.replicas_of(tx, [d.id])}  # fmt: skip
        address = next(a for a in subnet.hosts() if str(a) not in taken and self.choose.random() < 0.5)
        replica_id = new_id()
        await stream.record(
            tx,
            events.ReplicaPlanned(replica_id, identity, "replica", 0, str(address)),
            events.ReplicaChanged(replica_id, identity, "RUNNING", ""),
            events.PortFound(identity, 8080),
        )
        shape = BackendShape((Server(replica_id, address, 8080),), Probe(ProbeKind.HTTP, "/health"))
        await networking.put_backend(tx, ADDRESSING, instance, identity, shape)
        await networking.route_to_backend(tx, instance.id, identity)
        await stream.record(tx, events.DeploymentSucceeded(identity))

    async def change_variables(self) -> None:
        async with self.transaction() as tx:
            if instance := await self._instance(tx):
                value = self.choose.choice([None, "", "a\nb$'\"", "x" * 1000])
                changes = {f"V{self.choose.randrange(3)}": value}
                changed = await projects.change_variables(tx, self.actor, self.vault, instance.id, changes)
                await service.deploy_variables(tx, self.actor, ADDRESSING, instance.id, changed)

    async def scale(self) -> None:
        async with self.transaction() as tx:
            if instance := await self._instance(tx):
                await service.scale(tx, self.actor, instance.id, self.choose.randint(1, 5))

    async def _deployment(self, tx: Transaction) -> service.Deployment | None:
        instance = await self._instance(tx)
        found = await service.list_deployments(tx, self.actor, instance.id, 9) if instance else []
        return self.choose.choice(found) if found else None

    async def cancel(self) -> None:
        async with self.transaction() as tx:
            if deployment := await self._deployment(tx):
                await service.cancel(tx, self.actor, deployment.id)

    async def roll_back(self) -> None:
        async with self.transaction() as tx:
            if deployment := await self._deployment(tx):
                await service.roll_back(tx, self.actor, ADDRESSING, deployment.id)

    async def restart(self) -> None:
        async with self.transaction() as tx:
            if instance := await self._instance(tx):
                await service.restart(tx, self.actor, ADDRESSING, instance.id)

    async def redeploy(self) -> None:
        async with self.transaction() as tx:
            if deployment := await self._deployment(tx):
                await service.redeploy(tx, self.actor, ADDRESSING, deployment.id)

    async def upload(self) -> None:
        """An archive that came in; now and then the oldest, or all that came for a service, are struck off."""
        async with self.transaction() as tx:
            if instance := await self._instance(tx):
                await stream.record(tx, UploadReceived(new_id(), instance.id, "ab" * 32, 1))
                if self.choose.random() < 0.3:
                    await builds.strike_off(tx, (await builds.all_uploads(tx))[:1])
                if self.choose.random() < 0.3:
                    await builds.forget_uploads(tx, instance.id)

    async def edit_config(self) -> None:
        async with self.transaction() as tx:
            if instance := await self._instance(tx):
                settings = {"deploy": {"healthcheckPath": self.choose.choice([None, "/", "/health"])}}
                patch = {"services": {str(instance.service_id): settings}}
                await projects.edit_config(tx, self.actor, instance.environment_id, patch, "by hand")

    async def make_token(self) -> None:
        async with self.platform.database.transaction() as tx:
            await identity.create_token(tx, self.workspace_id, f"t{self.choose.randrange(4)}")

    async def revoke_token(self) -> None:
        async with self.platform.database.transaction() as tx:
            if tokens := await identity.list_tokens(tx, self.workspace_id):
                await identity.revoke_token(tx, self.workspace_id, str(self.choose.choice(tokens).id))

    async def take_down(self) -> None:
        async with self.transaction() as tx:
            if instance := await self._instance(tx):
                await service.take_down(tx, self.actor, instance.id)

    async def delete(self) -> None:
        async with self.transaction() as tx:
            instance = await self._instance(tx)
            if instance is None or self.choose.random() < 0.7:
                return
            kind = self.choose.choice(list(Deletable))
            subject = {
                Deletable.PROJECT: instance.project_id,
                Deletable.ENVIRONMENT: instance.environment_id,
                Deletable.SERVICE: instance.service_id,
            }[kind]
            await projects.request_deletion(tx, self.actor, kind, subject)
