"""Signing in: where address and token come from, and that the token is kept for its owner only."""

import json
import stat
from pathlib import Path

import pytest

from harness import Process, Run
from trackside_cli import session
from twin import TOKEN, Platform, Refused
from twin_server import Twin


@pytest.fixture
def nobody(trackside: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line without any settings."""
    monkeypatch.delenv("TRACKSIDE_API_URL")
    monkeypatch.delenv("TRACKSIDE_TOKEN")
    return trackside


def test_login_checks_and_keeps_the_token_for_its_owner_only(nobody: Run, twin: Twin) -> None:
    ran = nobody("login", "--api-url", f"{twin.url}/v1/", "--token", TOKEN)
    assert (ran.code, ran.out) == (0, f"Signed in to {twin.url} as Ada, workspace default.\n")
    kept = session.logins_file()
    assert json.loads(kept.read_text()) == {"api_url": twin.url, "tokens": {twin.url: TOKEN}}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert TOKEN not in ran.out + ran.err
    assert nobody("whoami", "--json").json["workspace"]["name"] == "default"


def test_login_reads_the_token_from_stdin(process: Process, twin: Twin) -> None:
    for arguments in (("login",), ("login", "--token", "-")):
        assert process(*arguments, given=f"{TOKEN}\n".encode()).returncode == 0


def test_a_token_that_is_not_accepted_is_not_kept(nobody: Run, twin: Twin) -> None:
    ran = nobody("login", "--api-url", twin.url, "--token", "wrong")
    assert ran.code == 3
    assert ran.err.splitlines() == [
        "error: The token is not valid.",
        "hint: Make a new one.",
        "code: identity.token_invalid (request r1)",
    ]
    assert not session.logins_file().exists()


@pytest.mark.parametrize("token", ["two\nlines", "späť", "\x1b[31m"])
def test_a_token_that_can_be_none_is_refused_before_it_is_sent(nobody: Run, twin: Twin, token: str) -> None:
    assert nobody("login", "--api-url", twin.url, "--token", token).code == 2


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "example.com",
        "http://",
        "http://user@host",
        "http://[",
        "http://h:99999",
        "http://a b",
        "http://x\x07",
    ],
)
def test_an_address_that_can_be_none_is_refused(nobody: Run, url: str) -> None:
    assert nobody("login", "--api-url", url, "--token", TOKEN).code == 2


def test_without_any_setting_it_says_how_to_begin(nobody: Run) -> None:
    ran = nobody("whoami")
    assert ran.code == 3
    assert "make demo" in ran.err


def test_without_a_token_it_says_how_to_get_one(nobody: Run, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKSIDE_API_URL", twin.url)
    ran = nobody("whoami")
    assert ran.code == 3
    assert "trackside server token" in ran.err


def test_the_platform_of_this_machine_is_found_and_comes_before_the_login(
    nobody: Run, twin: Twin, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.save_login("http://127.0.0.1:1", "other")
    (home / "cli.json").write_text(json.dumps({"api_url": twin.url}))
    monkeypatch.setenv("TRACKSIDE_HOME", str(home))
    monkeypatch.setenv("TRACKSIDE_TOKEN", TOKEN)
    assert nobody("whoami").code == 0
    monkeypatch.setenv("TRACKSIDE_API_URL", "http://127.0.0.1:1")
    assert nobody("whoami").code == 7


def test_tokens_of_two_platforms_are_kept_side_by_side(
    nobody: Run, twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.save_login(twin.url, TOKEN)
    session.save_login("http://127.0.0.1:1", "other")
    monkeypatch.setenv("TRACKSIDE_API_URL", twin.url)
    assert nobody("whoami").code == 0


def test_login_says_when_another_setting_overrules_it(nobody: Run, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKSIDE_API_URL", "http://127.0.0.1:1")
    assert "TRACKSIDE_API_URL leads elsewhere" in nobody("login", "--api-url", twin.url, "--token", TOKEN).err


def test_logout_forgets_one_platform(nobody: Run, twin: Twin) -> None:
    session.save_login("http://127.0.0.1:1", "other")
    session.save_login(twin.url, TOKEN)
    assert nobody("logout").out == f"Signed out of {twin.url}.\n"
    assert json.loads(session.logins_file().read_text()) == {"api_url": None, "tokens": {"http://127.0.0.1:1": "other"}}
    assert nobody("whoami").code == 3


def test_logout_tells_programs_whether_there_was_a_login(nobody: Run, twin: Twin) -> None:
    session.save_login(twin.url, TOKEN)
    for was_signed_in in (True, False):
        ran = nobody("logout", "--api-url", twin.url, "--json")
        assert ran.json == {"api_url": twin.url, "was_signed_in": was_signed_in}


@pytest.mark.parametrize("damaged", ["{", "[]", "\x00", '{"tokens": 3}', '{"tokens": {"x": 1}, "api_url": 7}'])
def test_damaged_logins_are_an_error_or_none_but_never_a_crash(nobody: Run, damaged: str) -> None:
    session.logins_file().parent.mkdir(parents=True)
    session.logins_file().write_text(damaged)
    assert nobody("whoami").code in (1, 3)


def test_nobody_at_the_address_is_told_with_the_address_and_a_remedy(
    nobody: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKSIDE_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("TRACKSIDE_TOKEN", "x")
    ran = nobody("status")
    assert ran.code == 7
    assert ran.err.startswith("error: Nobody answers at http://127.0.0.1:1 (")
    assert "`make demo`" in ran.err
    assert ran.err.endswith("code: cli.unreachable\n")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("invalid", 2),
        ("unauthenticated", 3),
        ("denied", 4),
        ("missing", 5),
        ("conflict", 6),
        ("unavailable", 7),
        ("limit", 8),
    ],
)
def test_every_kind_of_error_has_its_exit_code(trackside: Run, platform: Platform, kind: str, code: int) -> None:
    platform.refuse("/me", Refused(kind, "No.", "some.code", "Do this."))
    ran = trackside("whoami")
    assert ran.code == code
    assert ran.err.splitlines() == ["error: No.", "hint: Do this.", "code: some.code (request r1)"]


def test_the_version_of_the_server_is_compared_once(trackside: Run, platform: Platform) -> None:
    platform.a_project("demo", "web")
    platform.version = "0.2.0"
    ran = trackside("deployments")
    assert ran.err.count("is older than the server (0.2.0)") == 1
    platform.version = "0.1.9"
    assert "server" not in trackside("deployments").err
    platform.version = "0.0.9"
    assert "is newer than the server" in trackside("deployments").err
    platform.version = "nonsense"
    assert "server" not in trackside("deployments").err
