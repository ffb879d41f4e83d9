"""The first start, and the later ones."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from trackside.host.errors import NetworksFixed, PortTaken, StartInProgress, StateDamaged
from trackside.host.installation import (
    adopt_settings,
    exclusively,
    layout_of,
    open_installation,
    read_installation,
)
from trackside.host.start import check_port


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_second_start_finds_what_the_first_one_made(directory: Path) -> None:
    home, register = directory / "home", directory / "reg"
    first = await open_installation(home, {}, register)
    keys = (home / "keys" / "keyring.json").read_text()
    assert await open_installation(home, {}, register) == first == read_installation(home)
    assert (home / "keys" / "keyring.json").read_text() == keys


async def test_secrets_are_random_and_for_the_owner_only(directory: Path) -> None:
    secrets: list[str] = []
    for name in ("a", "b"):
        await open_installation(directory / name, {}, directory / "reg")
        for file in (directory / name / "keys").iterdir():
            assert mode(file) == 0o600
            secrets.append(file.read_text())
        assert mode(directory / name / "settings.json") == 0o600
        assert mode(directory / name / "keys") == 0o700
    assert len(set(secrets)) == len(secrets)


async def test_two_installations_share_neither_ports_nor_networks(directory: Path) -> None:
    made = [await open_installation(directory / str(n), {}, directory / "reg") for n in range(3)]
    ports = [port for each in made for port in (each.api_port, each.edge_port)]
    networks = [network for each in made for network in (each.network_pool, each.build_network)]
    assert len(set(ports)) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])


async def test_installations_first_started_in_one_moment_take_turns(directory: Path) -> None:
    made = await asyncio.gather(*(open_installation(directory / str(n), {}, directory / "reg") for n in range(5)))
    assert len({each.api_port for each in made}) == len({each.network_pool for each in made}) == 5


async def test_a_port_given_by_variable_is_kept_for_later_starts(directory: Path) -> None:
    home, register = directory / "home", directory / "reg"
    await open_installation(home, {}, register)
    changed = await open_installation(home, {"TRACKSIDE_EDGE_PORT": "8099"}, register)
    assert changed.edge_port == 8099
    assert await open_installation(home, {}, register) == changed


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "80 81"])
async def test_nonsense_for_a_port_is_refused_with_its_mend(directory: Path, port: str) -> None:
    with pytest.raises(StateDamaged, match="TRACKSIDE_API_PORT"):
        await open_installation(directory / "home", {"TRACKSIDE_API_PORT": port}, directory / "reg")


@pytest.mark.parametrize("name", ["TRACKSIDE_NETWORK_POOL", "TRACKSIDE_BUILD_NETWORK"])
async def test_networks_are_chosen_at_the_first_start_and_fixed_from_then_on(directory: Path, name: str) -> None:
    home, register = directory / "home", directory / "reg"
    first = await open_installation(home, {name: "10.77.0.0/16"}, register)
    assert await open_installation(home, {name: "10.77.0.0/16"}, register) == first
    with pytest.raises(NetworksFixed, match=r"10\.77\.0\.0/16 since its first start"):
        await open_installation(home, {name: "10.78.0.0/16"}, register)
    assert read_installation(home) == first


async def test_a_damaged_settings_file_is_named_and_left_alone(directory: Path) -> None:
    home = directory / "home"
    await open_installation(home, {}, directory / "reg")
    (home / "settings.json").write_text('{"installation": "0a1b')
    with pytest.raises(StateDamaged, match=r"settings\.json"):
        await open_installation(home, {}, directory / "reg")
    assert (home / "settings.json").read_text() == '{"installation": "0a1b'


async def test_settings_that_were_set_by_hand_stay(directory: Path) -> None:
    home, register = directory / "home", directory / "reg"
    await open_installation(home, {}, register)
    stored = json.loads((home / "settings.json").read_text())
    (home / "settings.json").write_text(json.dumps({**stored, "log_days": 3}))
    await open_installation(home, {"TRACKSIDE_API_PORT": "7709"}, register)
    assert json.loads((home / "settings.json").read_text())["log_days"] == 3


async def test_what_the_machine_tells_is_followed_until_it_is_set_by_hand(directory: Path) -> None:
    layout = layout_of(await open_installation(directory / "home", {}, directory / "reg"), directory / "home")

    def stored() -> dict[str, str]:
        return json.loads(layout.settings_file.read_text())

    for told in ("https://one.test/simple", "https://two.test/simple"):
        adopt_settings(layout, {"pip_index_url": told})
        assert stored()["pip_index_url"] == told
    adopt_settings(layout, {})
    assert stored()["pip_index_url"] == "https://two.test/simple"
    layout.settings_file.write_text(json.dumps({**stored(), "pip_index_url": "", "ca_bundle": "/mine.pem"}))
    for told in ("/mine.pem", "/theirs.pem"):
        adopt_settings(layout, {"pip_index_url": "https://three.test/simple", "ca_bundle": told})
        assert (stored()["pip_index_url"], stored()["ca_bundle"]) == ("", "/mine.pem")


async def test_passwords_stay_out_of_the_settings(directory: Path) -> None:
    home = directory / "home"
    await open_installation(home, {}, directory / "reg")
    settings = (home / "settings.json").read_text()
    passwords = json.loads((home / "keys" / "database.json").read_text()).values()
    assert not any(password in settings for password in passwords)


async def test_sockets_of_an_installation_are_short_enough_for_the_kernel(directory: Path) -> None:
    installation = await open_installation(directory / "home", {}, directory / "reg")
    layout = layout_of(installation, directory / "home")
    assert all(len(str(path)) < 60 for path in (layout.engine_socket, layout.postgres_run, layout.supervisor_socket))


def test_two_starts_at_once_are_refused(tmp_path: Path) -> None:
    with exclusively(tmp_path / "lock"), pytest.raises(StartInProgress), exclusively(tmp_path / "lock"):
        pass


def test_a_taken_port_names_its_holder_and_the_command_that_takes_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"{port} is held by .* \(process {os.getpid()}\)") as refused:
            check_port(port, "TRACKSIDE_EDGE_PORT", "0a1b2c3d")
    assert f"TRACKSIDE_EDGE_PORT={port + 1} make demo" in refused.value.hint


async def test_many_first_starts_at_once_make_one_installation_each(directory: Path) -> None:
    async def attempt_one(name: str) -> str:
        while True:
            try:
                return (await open_installation(directory / name, {}, directory / "reg")).id
            except StartInProgress:
                await asyncio.sleep(0)

    found = await asyncio.gather(*(attempt_one(str(n % 3)) for n in range(12)))
    assert len(set(found)) == 3
