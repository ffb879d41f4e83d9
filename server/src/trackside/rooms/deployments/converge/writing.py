"""Writes a plan's actions down as events: one small function per action, in one table."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trackside.kit import events as stream
from trackside.kit.db import Transaction
from trackside.rooms.deployments import events
from trackside.rooms.deployments.converge.ending import end_steps, send_away
from trackside.rooms.deployments.model import Deployment
from trackside.rooms.deployments.model.planning import (
    Action,
    BeginRemoval,
    BeginStep,
    Crash,
    EndRemoval,
    EndStep,
    Fail,
    FindPort,
    LeaveReplica,
    NoteReplica,
    PutBackend,
    Recover,
    RemoveBackend,
    RemoveReplica,
    RemoveStray,
    RestartReplica,
    ShowPage,
    StartReplica,
    Succeed,
    Swap,
    TerminateReplica,
)
from trackside.rooms.deployments.plan.workload import probe_of
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Addressing, BackendShape, Protocol
from trackside.rooms.projects.model import ServiceInstance


@dataclass(frozen=True)
class Desk:
    """What the writers need at hand."""

    tx: Transaction
    addressing: Addressing
    instance: ServiceInstance
    deployments: Sequence[Deployment]

    def deployment(self, action: Any) -> Deployment:
        return next(d for d in self.deployments if d.id == action.deployment_id)


async def write(
    tx: Transaction,
    addressing: Addressing,
    instance: ServiceInstance,
    deployments: Sequence[Deployment],
    action: Action,
) -> None:
    """Record what an action did or decided. Errors: `SlotsExhausted`."""
    await WRITERS[type(action)](Desk(tx, addressing, instance, deployments), action)


async def fail(tx: Transaction, deployment: Deployment, reason: str, hint: str, code: str | None = None) -> None:
    """End a deployment with a reason, and its open steps with it. `code`: of the error, where one of the platform's is the reason."""
    await end_steps(tx, deployment, reason)
    await stream.record(tx, events.DeploymentFailed(deployment.id, deployment.service_instance_id, reason, hint, code))


async def _nothing(desk: Desk, action: Any) -> None:
    """What only touched the world is found there again."""


async def _terminate(desk: Desk, action: TerminateReplica) -> None:
    await stream.record(
        desk.tx, events.ReplicaTerminating(action.replica_id, action.deployment_id, desk.tx.clock.now())
    )


async def _restart(desk: Desk, action: RestartReplica) -> None:
    await stream.record(desk.tx, events.ReplicaRestarted(action.replica_id, action.deployment_id, action.reason))


async def _remove(desk: Desk, action: RemoveReplica) -> None:
    await stream.record(desk.tx, events.ReplicaRemoved(action.replica_id, action.deployment_id))


async def _leave(desk: Desk, action: LeaveReplica) -> None:
    await stream.record(desk.tx, events.ReplicaLeaving(action.replica_id, action.deployment_id))
    for backend in await networking.backends_of(desk.tx, desk.instance.id):
        if backend.deployment_id == action.deployment_id:
            servers = tuple(
                replace(server, is_leaving=server.is_leaving or server.replica_id == action.replica_id)
                for server in backend.servers
            )
            shape = BackendShape(servers, backend.probe, backend.protocol)
            await networking.put_backend(desk.tx, desk.addressing, desk.instance, action.deployment_id, shape)


async def _note(desk: Desk, action: NoteReplica) -> None:
    await stream.record(
        desk.tx,
        events.ReplicaChanged(action.replica_id, action.deployment_id, str(action.status), action.detail),
    )


async def _begin_step(desk: Desk, action: BeginStep) -> None:
    await stream.record(desk.tx, events.StepStarted(action.deployment_id, str(action.step)))


async def _end_step(desk: Desk, action: EndStep) -> None:
    await stream.record(
        desk.tx, events.StepEnded(action.deployment_id, str(action.step), action.error, action.is_skipped)
    )


async def _find_port(desk: Desk, action: FindPort) -> None:
    await stream.record(desk.tx, events.PortFound(action.deployment_id, action.port))


async def _put_backend(desk: Desk, action: PutBackend) -> None:
    deployment = desk.deployment(action)
    shape = BackendShape(action.servers, probe_of(deployment), Protocol(deployment.settings.protocol))
    await networking.put_backend(desk.tx, desk.addressing, desk.instance, deployment.id, shape)


async def _remove_backend(desk: Desk, action: RemoveBackend) -> None:
    await networking.remove_backend(desk.tx, action.deployment_id)


async def _swap(desk: Desk, action: Swap) -> None:
    await networking.route_to_backend(desk.tx, desk.instance.id, action.deployment_id)


async def _show_page(desk: Desk, action: ShowPage) -> None:
    await networking.route_to_page(desk.tx, desk.instance.id, action.page)


async def _begin_removal(desk: Desk, action: BeginRemoval) -> None:
    await send_away(desk.tx, desk.deployment(action), action.reason, action.by)


async def _end_removal(desk: Desk, action: EndRemoval) -> None:
    await stream.record(desk.tx, events.DeploymentRemoved(action.deployment_id, desk.instance.id, None))


async def _succeed(desk: Desk, action: Succeed) -> None:
    await stream.record(desk.tx, events.DeploymentSucceeded(action.deployment_id))


async def _recover(desk: Desk, action: Recover) -> None:
    await stream.record(desk.tx, events.DeploymentRecovered(action.deployment_id))


async def _fail(desk: Desk, action: Fail) -> None:
    await fail(desk.tx, desk.deployment(action), action.reason, action.hint)


async def _crash(desk: Desk, action: Crash) -> None:
    await stream.record(desk.tx, events.DeploymentCrashed(action.deployment_id, action.reason))


WRITERS: dict[type, Callable[[Desk, Any], Awaitable[None]]] = {
    RemoveStray: _nothing,
    StartReplica: _nothing,
    RestartReplica: _restart,
    TerminateReplica: _terminate,
    RemoveReplica: _remove,
    LeaveReplica: _leave,
    NoteReplica: _note,
    BeginStep: _begin_step,
    EndStep: _end_step,
    FindPort: _find_port,
    PutBackend: _put_backend,
    RemoveBackend: _remove_backend,
    Swap: _swap,
    ShowPage: _show_page,
    BeginRemoval: _begin_removal,
    EndRemoval: _end_removal,
    Succeed: _succeed,
    Recover: _recover,
    Fail: _fail,
    Crash: _crash,
}
