"""What a deployment is asked for with: by the newest config, or as one before it was. Values only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from trackside.rooms.deployments.model import Deployment, Settings, Trigger
from trackside.rooms.projects.model import DeploySettings, ServiceSettings


@dataclass(frozen=True)
class Order:
    trigger: Trigger
    source: dict[str, Any]
    config_version: int
    settings: Settings
    build: dict[str, Any]
    variables: dict[str, UUID]
    replicas: int
    rollback_of: UUID | None = None
    image: dict[str, Any] | None = None
    commit: dict[str, str] | None = None
    is_urgent: bool = False


def order_of(wanted: ServiceSettings, version: int, trigger: Trigger, source: dict[str, Any]) -> Order:
    return Order(
        trigger=trigger,
        source=source,
        config_version=version,
        settings=settings_of(wanted.deploy),
        build=dict(wanted.build),
        variables=dict(wanted.variables),
        replicas=wanted.deploy.replicas,
    )


def settings_of(deploy: DeploySettings) -> Settings:
    """The config's deploy settings, as a deployment keeps them (the number of replicas lives on by itself)."""
    values = asdict(deploy)
    del values["replicas"]
    return Settings(**values)


def order_again(old: Deployment, trigger: Trigger, rollback_of: UUID | None = None) -> Order:
    return Order(
        trigger=trigger,
        source=dict(old.source),
        config_version=old.config_version,
        settings=old.settings,
        build=dict(old.build),
        variables=dict(old.variables),
        replicas=old.wanted_replicas,
        rollback_of=rollback_of,
        image=as_builtins(old.image),
        commit=as_dict(old.commit),
    )


def as_builtins(value: Any) -> dict[str, Any] | None:
    return asdict(value) if value is not None else None


def as_dict(value: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(value) if value is not None else None


def is_built(order: Order) -> bool:
    """Whether its image is still to be made."""
    return order.image is None and order.source.get("kind") != "image"
