"""`trackside server token`: what scripts and people get of it, on a real database."""

from pathlib import Path

import pytest

from command.conftest import Host, answer
from conftest import Platform
from trackside.kit.errors import TracksideError
from trackside.rooms.identity import service as identity


async def is_accepted(platform: Platform, token: str) -> bool:
    try:
        async with platform.database.transaction() as tx:
            await identity.actor_for_token(tx, token)
    except TracksideError:
        return False
    return True


@pytest.mark.parametrize("verb", [(), ("create",)], ids=["plain", "create"])
async def test_a_token_is_printed_alone_so_that_scripts_can_take_it(
    platform: Platform, state_directory: Path, host: Host, verb: tuple[str, ...]
) -> None:
    ran = host(state_directory, "server", "token", *verb, "--name", "ci")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert await is_accepted(platform, ran.stdout.removesuffix("\n"))


async def test_tokens_are_created_listed_and_revoked_as_json(
    platform: Platform, state_directory: Path, host: Host
) -> None:
    made = answer(host(state_directory, "server", "token", "create", "--name", "ci", "--json"))
    assert set(made) == {"id", "name", "prefix", "token"}
    (listed,) = answer(host(state_directory, "server", "token", "--json", "list"))
    assert {key: listed[key] for key in ("id", "name", "prefix")} == {k: made[k] for k in ("id", "name", "prefix")}
    assert listed["created_at"].endswith("+00:00")
    assert answer(host(state_directory, "server", "token", "revoke", made["id"], "--json")) == listed
    assert answer(host(state_directory, "server", "token", "list", "--json")) == []
    assert not await is_accepted(platform, made["token"])


def test_people_see_a_table_and_what_was_revoked(state_directory: Path, host: Host) -> None:
    token = host(state_directory, "server", "token", "--name", "my laptop").stdout.strip()
    listed = host(state_directory, "server", "token", "list").stdout
    assert listed.splitlines()[0].split() == ["NAME", "TOKEN", "CREATED", "ID"]
    assert "my laptop  trackside_" in listed
    assert token not in listed
    revoked = host(state_directory, "server", "token", "revoke", "my laptop").stdout
    assert revoked.startswith("Revoked token my laptop (trackside_")
    assert "There is no token" in host(state_directory, "server", "token", "list").stdout


def test_a_token_that_is_not_there_ends_with_1_and_nothing_on_stdout(state_directory: Path, host: Host) -> None:
    ran = host(state_directory, "server", "token", "revoke", "nobody", "--json")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.splitlines()[-1] == "code: identity.token_missing"


@pytest.mark.parametrize("arguments", [(), ("--json",), ("create",), ("revoke",), ("nonsense",)])
def test_a_command_line_that_is_not_valid_ends_with_2(tmp_path: Path, host: Host, arguments: tuple[str, ...]) -> None:
    ran = host(tmp_path, "server", "token", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
