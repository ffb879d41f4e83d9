"""The one place that reads settings and joins adapters to ports; each process is put together here."""

from trackside.bootstrap.garbage import Collected, collect_garbage, garbage_finding
from trackside.bootstrap.house import (
    READ_MODELS,
    ROOMS,
    VERSION,
    DeploymentLogs,
    House,
    know_events,
    low_disks,
    settings,
    started_house,
)
from trackside.bootstrap.machine import (
    CHECKOUT,
    duties,
    examined_machine,
    open_machine,
    package_environment,
    prepare_database,
    present_machine,
    surroundings,
)
from trackside.bootstrap.processes import run_builder, run_deployer, run_edge, run_monitor
from trackside.config import given

__all__ = [
    "CHECKOUT",
    "READ_MODELS",
    "ROOMS",
    "VERSION",
    "Collected",
    "DeploymentLogs",
    "House",
    "collect_garbage",
    "duties",
    "examined_machine",
    "garbage_finding",
    "given",
    "know_events",
    "low_disks",
    "open_machine",
    "package_environment",
    "prepare_database",
    "present_machine",
    "run_builder",
    "run_deployer",
    "run_edge",
    "run_monitor",
    "settings",
    "started_house",
    "surroundings",
]
