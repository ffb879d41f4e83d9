"""Load → observe → plan → act → save, until a service instance rests. It has no opinions: the plan decides.

A pass that finds, when it wants to save, that the records have moved on since it loaded writes nothing and starts over; what
it did to the world is found again by label. So a pass may be killed at any line.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from trackside.kit import events as stream
from trackside.kit.db import Database, Transaction
from trackside.kit.ids import new_id
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments import plan as planner
from trackside.rooms.deployments.converge.writing import fail, write
from trackside.rooms.deployments.errors import RuntimeRefused, RuntimeUnavailable
from trackside.rooms.deployments.model import (
    WORLD,
    Action,
    AddReplicas,
    Deployment,
    DeploymentView,
    Limits,
    Network,
    RemoveReplica,
    RemoveStray,
    Replica,
    ReplicaView,
    RestartReplica,
    SeenReplica,
    Snapshot,
    StartReplica,
    Status,
    TerminateReplica,
    Workload,
)
from trackside.rooms.deployments.plan import workload as orders
from trackside.rooms.deployments.ports import Logs, Runtime
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Addressing, Page
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import ServiceInstance

log = structlog.get_logger()
MOST_AT_ONCE = 50
"""Passes without a pause; more than a deployment ever needs means that something does not help, and must not spin."""
RETRY = 1.0
"""Seconds before looking again when the engine or the edge does not answer."""


@dataclass(frozen=True)
class Parts:
    """What converging works with."""

    database: Database
    runtime: Runtime
    logs: Logs
    vault: projects.Vault


@dataclass(frozen=True)
class Loaded:
    """What a pass has read."""

    instance: ServiceInstance
    host: str
    network: Network
    deployments: tuple[Deployment, ...]
    replicas: tuple[Replica, ...]
    snapshot: Callable[[Sequence[SeenReplica]], Snapshot]


class Converger:
    """Makes service instances run what is wanted."""

    def __init__(self, parts: Parts, addressing: Addressing, limits: Limits) -> None:
        self._database = parts.database
        self._runtime = parts.runtime
        self._logs = parts.logs
        self._vault = parts.vault
        self._addressing = addressing
        self._limits = limits

    async def step(self, workspace_id: UUID, instance_id: UUID) -> float | None:
        """One pass; in how many seconds the next is due (None: nothing to watch)."""
        async with self._database.transaction(workspace_id) as tx:
            loaded = await self._load(tx, instance_id)
        if loaded is None:
            return None
        try:
            seen = await self._runtime.observe(instance_id)
            plan = planner.plan(loaded.snapshot(seen))
            refused = await self._act(workspace_id, loaded, [a for a in plan.actions if isinstance(a, WORLD)])
        except RuntimeUnavailable as error:
            log.warning("the engine does not answer", instance=str(instance_id), error=error.sentence)
            return RETRY
        if not plan.actions:
            return plan.look_again
        async with self._database.transaction(workspace_id) as tx:
            await self._save(tx, loaded, plan.actions, refused)
        return 0.0

    # --- load ---

    async def _load(self, tx: Transaction, instance_id: UUID) -> Loaded | None:
        instance = await projects.find_instance(tx, instance_id)
        if instance is None:
            return None
        subnet = await networking.ensure_subnet(tx, self._addressing, instance.environment_id)
        host = await networking.ensure_host(tx, self._addressing, instance)
        backends = {backend.deployment_id: backend for backend in await networking.backends_of(tx, instance_id)}
        reports = await networking.reports_of(tx, instance_id)
        deployments = await store.unsettled(tx, instance_id)
        known = {deployment.id for deployment in deployments}
        for deployment_id in backends.keys() - known:
            if left := await store.deployment(tx, deployment_id):
                deployments.append(left)
        replicas = await store.replicas_of(tx, [deployment.id for deployment in deployments])
        routed = await networking.route_of(tx, instance_id)
        now = tx.clock.now()

        def snapshot(seen: Sequence[SeenReplica]) -> Snapshot:
            by_id = {replica.replica_id: replica for replica in seen}
            views = tuple(_view(deployment, replicas, by_id, backends, reports) for deployment in deployments)
            target = routed[0].target if routed else None
            return Snapshot(
                now=now,
                deployments=views,
                routed=routed[1] if routed else None,
                page=target if isinstance(target, Page) else None,
                confirmed_at=routed[2] if routed else None,
                strays=tuple(sorted(by_id.keys() - {replica.id for replica in replicas})),
            )

        network = Network(instance.environment_id, subnet)
        return Loaded(instance, host, network, tuple(deployments), tuple(replicas), snapshot)

    # --- act ---

    async def _act(self, workspace_id: UUID, loaded: Loaded, actions: Sequence[Action]) -> dict[UUID, str]:
        """Run the actions that touch the world, side by side; why a replica was refused, by its id."""
        refused: dict[UUID, str] = {}
        if any(isinstance(action, StartReplica) for action in actions):
            await self._runtime.ensure_network(loaded.network)

        async def run(action: Action) -> None:
            try:
                await self._touch(workspace_id, loaded, action)
            except RuntimeRefused as error:
                if isinstance(action, StartReplica | RestartReplica):
                    refused[action.replica_id] = error.sentence
                else:
                    raise

        outcomes = await asyncio.gather(*(run(action) for action in actions), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return refused

    async def _touch(self, workspace_id: UUID, loaded: Loaded, action: Action) -> None:
        match action:
            case StartReplica():
                await self._runtime.start(await self._workload(workspace_id, loaded, action.replica_id))
            case RestartReplica():
                deployment = next(d for d in loaded.deployments if d.id == action.deployment_id)
                await self._runtime.restart(action.replica_id, deployment.settings.draining)
            case TerminateReplica():
                await self._runtime.terminate(action.replica_id)
            case RemoveReplica():
                await self._runtime.kill(action.replica_id)
                await self._logs.collect_rest(workspace_id, action.deployment_id, action.replica_id)
                await self._runtime.remove(action.replica_id)
            case RemoveStray():
                await self._runtime.remove(action.replica_id)
            case _:
                raise AssertionError(action)

    async def _workload(self, workspace_id: UUID, loaded: Loaded, replica_id: UUID) -> Workload:
        replica = next(r for r in loaded.replicas if r.id == replica_id)
        deployment = next(d for d in loaded.deployments if d.id == replica.deployment_id)
        instance, image = loaded.instance, deployment.image
        if image is None:
            raise RuntimeRefused("The deployment has no image.")
        async with self._database.transaction(workspace_id) as tx:
            own = await self._vault.open(tx, deployment.variables)
        provided = orders.provided_variables(instance, deployment, replica_id, loaded.host)
        restart, max_restarts = orders.restart_of(deployment, replica.role)
        argv = orders.command_of(deployment, replica.role)
        return Workload(
            workspace_id=workspace_id,
            project_id=instance.project_id,
            environment_id=instance.environment_id,
            service_id=instance.service_id,
            service_instance_id=instance.id,
            deployment_id=deployment.id,
            replica_id=replica_id,
            role=replica.role,
            image_id=image.image_id,
            argv=argv,
            is_entrypoint_replaced=argv is not None,
            user=None,
            variables=orders.variables_of(deployment, provided, own),
            network=loaded.network,
            address=replica.address,
            restart=restart,
            max_restarts=max_restarts,
            limits=orders.limits_of(deployment, self._limits),
            capabilities=orders.CAPABILITIES,
        )

    # --- save ---

    async def _save(
        self, tx: Transaction, loaded: Loaded, actions: Sequence[Action], refused: Mapping[UUID, str]
    ) -> None:
        """Write down what was done and decided, unless the records have moved on."""
        await stream.lock(tx)
        present = {d.id: d.version for d in await store.unsettled(tx, loaded.instance.id)}
        if any(present.get(d.id, d.version) != d.version for d in loaded.deployments) or (
            present.keys() - {d.id for d in loaded.deployments}
        ):
            return
        for action in actions:
            if isinstance(action, AddReplicas):
                await self._add_replicas(tx, loaded, action)
            else:
                await write(tx, loaded.instance, loaded.deployments, loaded.replicas, action)
        for replica_id, sentence in refused.items():
            await self._note_refusal(tx, loaded, replica_id, sentence)

    async def _add_replicas(self, tx: Transaction, loaded: Loaded, action: AddReplicas) -> None:
        addresses = await store.free_addresses(tx, loaded.network.subnet, len(action.ordinals))
        if addresses is None:
            deployment = next(d for d in loaded.deployments if d.id == action.deployment_id)
            if deployment.status is Status.DEPLOYING:
                sentence = f"The environment's network {loaded.network.subnet} has no address left."
                hint = "Scale other services of the environment down, or use another environment."
                await fail(tx, deployment, sentence, hint)
            return
        for ordinal, address in zip(action.ordinals, addresses, strict=True):
            await stream.record(
                tx,
                events.ReplicaPlanned(new_id(), action.deployment_id, str(action.role), ordinal, str(address)),
            )

    async def _note_refusal(self, tx: Transaction, loaded: Loaded, replica_id: UUID, sentence: str) -> None:
        replica = next(r for r in loaded.replicas if r.id == replica_id)
        deployment = next(d for d in loaded.deployments if d.id == replica.deployment_id)
        if deployment.status is Status.DEPLOYING:
            await fail(tx, deployment, sentence, RuntimeRefused.hint)
        else:
            await stream.record(tx, events.ReplicaRestarted(replica_id, deployment.id, sentence))


def _view(
    deployment: Deployment,
    replicas: Sequence[Replica],
    seen: Mapping[UUID, SeenReplica],
    backends: Mapping[UUID, networking.Backend],
    reports: Mapping[UUID, tuple[networking.BackendReport, object]],
) -> DeploymentView:
    report, reported_at = reports.get(deployment.id, (None, None))
    return DeploymentView(
        deployment=deployment,
        replicas=tuple(
            ReplicaView(
                replica,
                seen.get(replica.id),
                report.health.get(replica.id) if report else None,
                report.open_by_replica.get(replica.id, 0) if report else 0,
            )
            for replica in replicas
            if replica.deployment_id == deployment.id
        ),
        backend=backends.get(deployment.id),
        report=report,
        reported_at=reported_at,  # pyright: ignore[reportArgumentType]
    )


Nudge = Callable[[float], Awaitable[None]]


async def until_rest(converger: Converger, workspace_id: UUID, instance_id: UUID, wait: Nudge) -> None:
    """Pass after pass until nothing is about to change; `wait` sleeps at most so long, less when nudged."""
    pause, at_once = 0.0, 0
    while True:
        delay = await converger.step(workspace_id, instance_id)
        if delay is None or delay >= planner.WATCH:
            return
        at_once = at_once + 1 if delay == 0 else 0
        if delay == 0 and at_once < MOST_AT_ONCE:
            continue
        pause = min(0.5, max(delay or planner.BUSY, pause * 1.3)) if delay else 0.5
        await wait(pause)
