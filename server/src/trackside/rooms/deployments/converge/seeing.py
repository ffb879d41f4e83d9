"""What a pass has read, as the plan sees it: records, containers and reports joined, and each moment on the clock as it goes now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from trackside.kit.clock import Reading
from trackside.rooms.deployments.model import Deployment, Replica, SeenReplica
from trackside.rooms.deployments.model.planning import DeploymentView, ReplicaView, Snapshot
from trackside.rooms.networking import service as networking
from trackside.rooms.networking.model import Backend, BackendReport, Health, Page


@dataclass(frozen=True)
class Records:
    """What was read of a service instance, and when. `routed`: the route, whose deployment it leads to, when it was confirmed."""

    deployments: tuple[Deployment, ...]
    replicas: tuple[Replica, ...]
    backends: Mapping[UUID, Backend]
    reports: Mapping[UUID, tuple[BackendReport, datetime]]
    routed: networking.Routed | None
    reading: Reading

    def snapshot(self, seen: Sequence[SeenReplica]) -> Snapshot:
        """All the planner needs, with what the engine has."""
        by_id = {replica.replica_id: replica for replica in seen}
        target = self.routed[0].target if self.routed else None
        return Snapshot(
            now=self.reading.now,
            deployments=tuple(self._view(deployment, by_id) for deployment in self.deployments),
            routed=self.routed[1] if self.routed else None,
            page=target if isinstance(target, Page) else None,
            confirmed_at=self.routed[2] if self.routed else None,
            strays=tuple(sorted(by_id.keys() - {replica.id for replica in self.replicas})),
        )

    def _view(self, deployment: Deployment, seen: Mapping[UUID, SeenReplica]) -> DeploymentView:
        report, reported_at = self.reports.get(deployment.id, (None, None))
        return DeploymentView(
            deployment=placed_deployment(deployment, self.reading),
            replicas=tuple(
                ReplicaView(
                    placed_replica(replica, self.reading),
                    placed_container(seen.get(replica.id), self.reading),
                    placed_health(report.health.get(replica.id) if report else None, self.reading),
                    report.open_by_replica.get(replica.id, 0) if report else 0,
                )
                for replica in self.replicas
                if replica.deployment_id == deployment.id
            ),
            backend=self.backends.get(deployment.id),
            report=report,
            reported_at=reported_at,
        )


def placed_deployment(deployment: Deployment, reading: Reading) -> Deployment:
    """Only what is measured from is placed: the order in which deployments were made is that of the records."""
    return replace(
        deployment,
        steps=tuple(replace(step, started_at=reading.placed(step.started_at)) for step in deployment.steps),
        updated_at=reading.placed(deployment.updated_at),
        removing_at=reading.placed_or_none(deployment.removing_at),
    )


def placed_replica(replica: Replica, reading: Reading) -> Replica:
    return replace(
        replica,
        leaving_at=reading.placed_or_none(replica.leaving_at),
        terminating_at=reading.placed_or_none(replica.terminating_at),
        restarted_at=reading.placed_or_none(replica.restarted_at),
    )


def placed_container(seen: SeenReplica | None, reading: Reading) -> SeenReplica | None:
    return replace(seen, started_at=reading.placed_or_none(seen.started_at)) if seen else None


def placed_health(health: Health | None, reading: Reading) -> Health | None:
    return replace(health, well_until=reading.placed_or_none(health.well_until)) if health else None
