"""Load → observe → plan → act → save, until a service instance rests. It has no opinions: the plan decides.

A pass that finds, when it wants to save, that the records have moved on since it loaded writes nothing and starts over; what
it did to the world is found again by label. So a pass may be killed at any line.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from trackside.kit import events as stream
from trackside.kit import failpoints
from trackside.kit.clock import Stopwatch
from trackside.kit.db import Database, Transaction
from trackside.kit.errors import TracksideError
from trackside.kit.ids import new_id
from trackside.rooms.deployments import events, store
from trackside.rooms.deployments import plan as planner
from trackside.rooms.deployments.converge import reading
from trackside.rooms.deployments.converge.seeing import Records
from trackside.rooms.deployments.converge.trouble import Trouble, hold_up, resume
from trackside.rooms.deployments.converge.writing import write
from trackside.rooms.deployments.errors import NetworkFull, RuntimeRefused, RuntimeUnavailable
from trackside.rooms.deployments.model import Deployment, Limits, Network, Replica, Status, Workload
from trackside.rooms.deployments.model.planning import (
    WORLD,
    Action,
    AddReplicas,
    RemoveReplica,
    RemoveStray,
    RestartReplica,
    StartReplica,
    TerminateReplica,
)
from trackside.rooms.deployments.plan import workload as orders
from trackside.rooms.deployments.ports import Logs, Runtime
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.errors import SlotsExhausted
from trackside.rooms.networking.model import Addressing
from trackside.rooms.projects import service as projects
from trackside.rooms.projects.model import ServiceInstance

log = structlog.get_logger()
failpoints.declare_around(action.__name__ for action in WORLD)
MOST_AT_ONCE = 50
"""Passes without a pause; more than a deployment ever needs means that something does not help, and must not spin."""
RETRY = 0.5
"""Seconds before looking again when something that is needed is not there."""
PATIENCE = 30
"""Looks in a row that may find so; then looking is the timer's, so that what waits long takes no other job's place."""


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
    records: Records

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        return self.records.deployments

    @property
    def replicas(self) -> tuple[Replica, ...]:
        return self.records.replicas


class Converger:
    """Makes service instances run what is wanted."""

    def __init__(self, parts: Parts, addressing: Addressing, limits: Limits) -> None:
        self._database = parts.database
        self._runtime = parts.runtime
        self._logs = parts.logs
        self._vault = parts.vault
        self._addressing = addressing
        self._limits = limits
        self.stopwatch = Stopwatch(parts.database.clock)
        """By which time is measured here."""

    async def step(self, workspace_id: UUID, instance_id: UUID) -> float | None:
        """One pass; in how many seconds the next is due (None: nothing to watch)."""
        async with self._database.transaction(workspace_id) as tx:
            loaded = await self._load(tx, instance_id)
        if loaded is None:
            return None
        try:
            seen = await self._runtime.observe(instance_id)
        except RuntimeUnavailable as error:
            log.warning("the engine does not answer", instance=str(instance_id), error=error.sentence)
            await self._wait(workspace_id, instance_id, error)
            return RETRY
        plan = planner.plan(loaded.records.snapshot(seen))
        trouble = await self._act(workspace_id, loaded, [a for a in plan.actions if isinstance(a, WORLD)])
        if not plan.actions and not any(deployment.is_held_up for deployment in loaded.deployments):
            return plan.look_again
        async with self._database.transaction(workspace_id) as tx:
            await self._save(tx, loaded, plan.actions, trouble)
        if trouble.is_waiting:
            log.warning("something waits", instance=str(instance_id), error=trouble.sentence)
            return RETRY
        return 0.0 if plan.actions else plan.look_again

    async def _wait(self, workspace_id: UUID, instance_id: UUID, error: TracksideError) -> None:
        """Say of what is on its way that it waits, and for what; also of what was asked for while the engine did not answer."""
        async with self._database.transaction(workspace_id) as tx:
            if _waiting(await store.unsettled(tx, instance_id)):
                await stream.lock(tx)
                for deployment in _waiting(await store.unsettled(tx, instance_id)):
                    await hold_up(tx, deployment, error)

    # --- load ---

    async def _load(self, tx: Transaction, instance_id: UUID) -> Loaded | None:
        instance = await projects.find_instance(tx, instance_id)
        if instance is None:
            return None
        subnet = await networking.ensure_subnet(tx, self._addressing, instance.environment_id)
        host = await networking.ensure_host(tx, self._addressing, instance)
        records = (await reading.read(tx, self.stopwatch.read(), instance_id))[instance_id]
        network = Network(instance.environment_id, subnet)
        return Loaded(instance, host, network, records)

    # --- act ---

    async def _act(self, workspace_id: UUID, loaded: Loaded, actions: Sequence[Action]) -> Trouble:
        """Run the actions that touch the world, side by side; what went wrong with which. One never keeps another back."""
        trouble = Trouble()
        starts = [action for action in actions if isinstance(action, StartReplica)]
        if starts:
            try:
                await self._runtime.ensure_network(loaded.network)
            except TracksideError as error:
                trouble.add(starts, error)

        async def run(action: Action) -> None:
            try:
                await self._touch(workspace_id, loaded, action)
            except TracksideError as error:
                trouble.add([action], error)

        going = [run(action) for action in actions if not trouble.has(action)]
        outcomes = await asyncio.gather(*going, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return trouble

    async def _touch(self, workspace_id: UUID, loaded: Loaded, action: Action) -> None:
        with failpoints.around(type(action).__name__):
            await self._do(workspace_id, loaded, action)

    async def _do(self, workspace_id: UUID, loaded: Loaded, action: Action) -> None:
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

    async def _save(self, tx: Transaction, loaded: Loaded, actions: Sequence[Action], trouble: Trouble) -> None:
        """Write down what was done and decided, unless the records have moved on."""
        await stream.lock(tx)
        if not await self._is_current(tx, loaded):
            return
        for action in actions:
            if not trouble.has(action):
                await self._write(tx, loaded, action, trouble)
        for deployment in loaded.deployments:
            if trouble.of(deployment.id):
                await trouble.tell(tx, deployment)
            elif deployment.is_held_up:
                await resume(tx, deployment.id)

    async def _write(self, tx: Transaction, loaded: Loaded, action: Action, trouble: Trouble) -> None:
        try:
            if isinstance(action, AddReplicas):
                await self._add_replicas(tx, loaded, action)
            else:
                await write(tx, self._addressing, loaded.instance, loaded.deployments, action)
        except (NetworkFull, SlotsExhausted) as error:
            trouble.add([action], error)

    async def _is_current(self, tx: Transaction, loaded: Loaded) -> bool:
        """Whether the records are still as they were loaded."""
        known = {d.id: d.version for d in loaded.deployments}
        present = {d.id: d.version for d in await store.deployments_by_id(tx, known)}
        unsettled = {d.id for d in await store.unsettled(tx, loaded.instance.id)}
        return present == known and unsettled <= known.keys()

    async def _add_replicas(self, tx: Transaction, loaded: Loaded, action: AddReplicas) -> None:
        """Errors: `NetworkFull`."""
        addresses = await store.free_addresses(tx, loaded.network.subnet, len(action.ordinals))
        if addresses is None:
            raise NetworkFull(f"The environment's network {loaded.network.subnet} has no address left.")
        for ordinal, address in zip(action.ordinals, addresses, strict=True):
            await stream.record(
                tx,
                events.ReplicaPlanned(new_id(), action.deployment_id, str(action.role), ordinal, str(address)),
            )


def _waiting(deployments: Sequence[Deployment]) -> list[Deployment]:
    """Those on their way that do not say yet what they wait for."""
    return [one for one in deployments if one.status is Status.DEPLOYING and not one.is_held_up]


Nudge = Callable[[float], Awaitable[None]]


async def until_rest(converger: Converger, workspace_id: UUID, instance_id: UUID, wait: Nudge) -> None:
    """Pass after pass until nothing is about to change; `wait` sleeps at most so long, less when nudged."""
    pause, at_once, in_vain = 0.0, 0, 0
    while True:
        delay = await converger.step(workspace_id, instance_id)
        in_vain = in_vain + 1 if delay == RETRY else 0
        if delay is None or delay >= planner.WATCH or in_vain > PATIENCE:
            return
        at_once = at_once + 1 if delay == 0 else 0
        if delay == 0 and at_once < MOST_AT_ONCE:
            continue
        pause = min(0.5, max(delay or planner.BUSY, pause * 1.3)) if delay else 0.5
        await wait(pause)
