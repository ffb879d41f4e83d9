"""Facts about names, subnets, backends and routes."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from trackside.kit.events import Event


@dataclass(frozen=True)
class SubnetAssigned(Event):
    environment_id: UUID
    number: int  # which /24 of the pool


@dataclass(frozen=True)
class SubnetReleased(Event):
    environment_id: UUID


@dataclass(frozen=True)
class HostAssigned(Event):
    service_instance_id: UUID
    host: str


@dataclass(frozen=True)
class HostsReleased(Event):
    service_instance_id: UUID


@dataclass(frozen=True)
class BackendPut(Event):
    """A deployment's backend as it shall be from now on; `servers` are {replica_id, address, port, is_leaving}."""

    deployment_id: UUID
    service_instance_id: UUID
    environment_id: UUID
    service_name: str
    slot: int
    servers: list[dict[str, Any]]
    probe: dict[str, Any] | None
    protocol: str


@dataclass(frozen=True)
class BackendRemoved(Event):
    deployment_id: UUID


@dataclass(frozen=True)
class RouteChanged(Event):
    """Where a service instance's hosts lead from now on: a slot's number, or a page's name."""

    service_instance_id: UUID
    slot: int | None
    page: str | None
    deployment_id: UUID | None


@dataclass(frozen=True)
class RouteRemoved(Event):
    service_instance_id: UUID
