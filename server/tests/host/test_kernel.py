"""Kernel settings are put back as they were, by the last that needed them."""

from pathlib import Path

import pytest

from trackside.host.kernel import KernelSettings

NAME = "net.ipv4.ip_forward"


@pytest.fixture
def settings(tmp_path: Path) -> KernelSettings:
    root = tmp_path / "sys"
    (root / "net/ipv4").mkdir(parents=True)
    (root / "net/ipv4/ip_forward").write_text("0\n")
    return KernelSettings(tmp_path / "notes", root)


def test_the_former_value_is_put_back(settings: KernelSettings) -> None:
    assert settings.need(NAME, "1", "aaaaaaaa")
    assert settings.read(NAME) == "1"
    settings.release("aaaaaaaa")
    assert settings.read(NAME) == "0"
    assert not settings.notes.exists()


def test_a_setting_another_installation_needs_stays_until_that_stops_too(settings: KernelSettings) -> None:
    assert settings.need(NAME, "1", "aaaaaaaa")
    assert settings.need(NAME, "1", "bbbbbbbb")  # it was off before any of ours came
    settings.release("aaaaaaaa")
    assert settings.read(NAME) == "1"
    settings.release("bbbbbbbb")
    assert settings.read(NAME) == "0"


def test_starting_twice_does_not_take_our_own_value_for_the_former(settings: KernelSettings) -> None:
    for _ in range(3):
        assert settings.need(NAME, "1", "aaaaaaaa")
    settings.release("aaaaaaaa")
    assert settings.read(NAME) == "0"


def test_a_setting_that_was_right_before_stays(settings: KernelSettings) -> None:
    (settings.root / "net/ipv4/ip_forward").write_text("1\n")
    assert not settings.need(NAME, "1", "aaaaaaaa")
    settings.release("aaaaaaaa")
    assert settings.read(NAME) == "1"


def test_a_setting_others_rely_on_by_now_is_kept(settings: KernelSettings) -> None:
    settings.need(NAME, "1", "aaaaaaaa")
    settings.release("aaaaaaaa", keep=True)
    assert settings.read(NAME) == "1"
    assert not settings.notes.exists()


def test_releasing_what_was_never_needed_is_no_error(settings: KernelSettings) -> None:
    settings.release("aaaaaaaa")
    assert not settings.notes.exists()
