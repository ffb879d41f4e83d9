"""The machine's parts for the host's commands."""

from datetime import datetime
from pathlib import Path

from trackside.adapters.proxy.launch import arguments
from trackside.bootstrap.house import least_space, settings, started_house
from trackside.bootstrap.processes import haproxy_options
from trackside.config import Settings, adopted, given, state_directory
from trackside.entry.admin import database, upgrading
from trackside.host.doctor import Surroundings
from trackside.host.files import read_json, write_json
from trackside.host.installation import (
    adopt_settings,
    layout_of,
    open_installation,
    read_installation,
    save_settings,
    unmade_installation,
)
from trackside.host.layout import system_layout
from trackside.host.machine import Machine, MachineOptions
from trackside.host.upgrade import Duties

CHECKOUT = Path(__file__).parents[4]
"""Where the platform was checked out."""


async def open_machine() -> Machine:
    """The machine's parts for this state directory, which is made at the first call."""
    environment = given()
    installation = await open_installation(state_directory(), environment)
    layout = layout_of(installation, state_directory())
    stored = read_json(layout.settings_file) or {}
    if "file_source_roots" not in stored and (CHECKOUT / ".git").exists():
        # The examples are deployed out of the checkout's own repository.
        save_settings(layout, {"file_source_roots": [str(CHECKOUT)]})
    adopt_settings(layout, adopted(environment))
    found = settings()
    write_json(found.home / "cli.json", {"api_url": found.api_url})
    return Machine(layout, installation, machine_options(found), environment)


def present_machine() -> Machine | None:
    """The machine's parts, where this state directory was ever started."""
    installation = read_installation(state_directory())
    if installation is None:
        return None
    found = settings()
    return Machine(layout_of(installation, found.home), installation, machine_options(found), given())


def examined_machine() -> Machine:
    """The machine's parts for looking only: of this state directory, or as a first start would make them. Nothing is made."""
    if (machine := present_machine()) is not None:
        return machine
    found, environment = settings(), given()
    installation = unmade_installation(environment)
    return Machine(layout_of(installation, found.home), installation, machine_options(found), environment)


def surroundings() -> Surroundings:
    """What the doctor asks about beside the machine's parts."""
    found = settings()
    layout = system_layout(found.installation, found.home)
    is_embedded = not found.database_url or f"host={layout.postgres_run}&" in found.database_url
    mirrors = (found.pip_index_url, found.npm_registry, found.apt_mirror, found.go_proxy.partition(",")[0])
    return Surroundings(
        base_domain=found.base_domain,
        upstream_resolvers=found.upstream_resolvers,
        ca_bundle=found.ca_bundle,
        mirrors=tuple(url for url in mirrors if url.startswith(("http://", "https://"))),
        database_url="" if is_embedded else found.database_url,
        least_space=least_space(found),
    )


def machine_options(found: Settings) -> MachineOptions:
    """What the machine's parts depend on."""
    return MachineOptions(
        api_host=found.api_host,
        edge_host=found.edge_host,
        build_cpu=found.build_cpu,
        build_memory_bytes=found.build_memory_bytes,
        build_disk_bytes=found.build_disk_bytes,
        registry_mirror=found.registry_mirror,
        insecure_registry=found.insecure_registry,
        drop_private=found.close_private_networks,
        hang_seconds=found.hang_seconds,
        haproxy=arguments(haproxy_options(found)),
    )


async def prepare_database() -> None:
    """Bring the database up to date; run at every start."""
    async with started_house() as house, house.owner() as owner:
        await database.prepare(house.settings.database_owner_url, house.database, owner, house.keyring)


def package_environment() -> dict[str, str]:
    """In which Python packages are fetched: that of the command, with the settings' index and authorities where it names none."""
    found = settings()
    chosen = {"PIP_INDEX_URL": found.pip_index_url, "SSL_CERT_FILE": str(found.ca_bundle or "")}
    return {name: value for name, value in chosen.items() if value} | given()


def duties() -> Duties:
    """What an upgrade asks of this version's code."""

    async def look(allow_newer: bool) -> list[str]:
        async with started_house() as house, house.owner() as owner:
            return await upgrading.migrations_to_come(owner, allow_newer=allow_newer)

    async def works(since: datetime) -> None:
        async with started_house() as house:
            await upgrading.wait_until_working(house.database, house.jobs, since)

    return Duties(look, prepare_database, works)
