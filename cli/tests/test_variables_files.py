"""`trackside variables import` and `export`: what is shown, asked, sent, and left alone."""

from pathlib import Path

import pytest

from harness import Process, Run
from test_running import on_a_terminal
from twin import Json, Platform, Refused
from twin_server import Twin

HERE = ("-p", "demo", "-s", "web")


@pytest.fixture
def instance(platform: Platform) -> Json:
    platform.a_project("demo", "web")
    platform.variables = {"KEPT": "same", "CHANGED": "before", "LEFT": "hunter2"}
    return platform.instance()


@pytest.fixture
def file() -> Path:
    path = Path(".env")
    path.write_text("NEW='a b'\nKEPT=same\nCHANGED=after\n")
    return path


def sent(platform: Platform) -> list[Json]:
    return platform.sent("PATCH", "/variables")


def test_a_file_is_imported_in_one_change_and_one_deployment(
    trackside: Run, platform: Platform, instance: Json, file: Path
) -> None:
    ran = trackside("variables", "import", "--yes", *HERE)
    assert ran.err.splitlines() == ["+ NEW", "~ CHANGED", "= 1 unchanged"]
    assert platform.variables == {"KEPT": "same", "CHANGED": "after", "LEFT": "hunter2", "NEW": "a b"}
    assert [one["variables"] for one in sent(platform)] == [{"NEW": "a b", "CHANGED": "after"}]
    assert len(platform.deployments) == 1
    assert ran.out.startswith("Changed CHANGED, NEW. Deployment ")


def test_replacing_deletes_what_the_file_lacks(trackside: Run, platform: Platform, instance: Json, file: Path) -> None:
    ran = trackside("variables", "import", str(file), "--replace", "--yes", "--skip-deploy", *HERE)
    assert "- LEFT" in ran.err.splitlines()
    assert platform.variables == {"KEPT": "same", "CHANGED": "after", "NEW": "a b"}
    assert len(sent(platform)) == 1
    assert platform.deployments == {}


def test_a_dry_run_shows_and_changes_nothing(trackside: Run, platform: Platform, instance: Json, file: Path) -> None:
    ran = trackside("variables", "import", "--dry-run", "--replace", "--json", *HERE)
    assert ran.json == {
        "difference": {
            "added": ["NEW"],
            "changed": ["CHANGED"],
            "hidden": [],
            "removed": ["LEFT"],
            "unchanged": ["KEPT"],
        },
        "changed": [],
        "deployment": None,
    }
    assert sent(platform) == []


def test_values_are_never_shown(trackside: Run, platform: Platform, instance: Json, file: Path) -> None:
    ran = trackside("variables", "import", "--replace", "--yes", *HERE)
    for value in ("hunter2", "before", "after", "same"):
        assert value not in ran.out + ran.err


def test_what_is_as_the_file_says_is_left_alone(trackside: Run, platform: Platform, instance: Json) -> None:
    Path(".env").write_text("KEPT=same\n")
    assert trackside("variables", "import", *HERE).out == "Nothing changed.\n"
    assert sent(platform) == []


def test_without_a_terminal_it_must_be_confirmed(
    trackside: Run, platform: Platform, instance: Json, file: Path
) -> None:
    ran = trackside("variables", "import", *HERE)
    assert ran.code == 2
    assert "Add --yes" in ran.err
    assert sent(platform) == []


@pytest.mark.parametrize(("answer", "is_sent"), [(b"n\n", False), (b"y\n", True)])
def test_at_a_terminal_it_asks(
    signed_in: None, platform: Platform, instance: Json, file: Path, answer: bytes, is_sent: bool
) -> None:
    _, screen = on_a_terminal("variables", "import", *HERE, answer=answer)
    assert "Change web in production so?" in screen
    assert bool(sent(platform)) == is_sent


def test_a_file_with_one_bad_line_changes_nothing(trackside: Run, platform: Platform, instance: Json) -> None:
    Path(".env").write_text("A=1\nA=2\nhunter3\n")
    ran = trackside("variables", "import", "--yes", *HERE)
    assert ran.code == 2
    assert "line 2: A is there already, in line 1; line 3: it is not NAME=VALUE" in ran.err.replace(
        "it has no value: write NAME=, with nothing after it", "it is not NAME=VALUE"
    )
    assert "hunter3" not in ran.err
    assert platform.requests == []


def test_a_file_that_is_not_there_is_told(trackside: Run, instance: Json) -> None:
    ran = trackside("variables", "import", "missing.env", "--yes")
    assert ran.code == 1
    assert "missing.env can't be read" in ran.err


def test_sealed_values_are_set_kept_and_never_guessed(trackside: Run, platform: Platform, instance: Json) -> None:
    """A sealed value comes as null also where values are revealed."""
    platform.sealed = {"KEPT"}
    Path(".env").write_text("KEPT=same\n")
    ran = trackside("variables", "import", "--yes", *HERE)
    assert "~ KEPT  (sealed: it can't be seen whether it changes)" in ran.err
    assert sent(platform)[0]["variables"] == {"KEPT": "same"}
    exported = trackside("variables", "export")
    assert exported.out == "CHANGED=before\nLEFT=hunter2\n"
    assert "Left out, for sealed values can't be shown: KEPT." in exported.err


def test_who_may_set_but_not_see_is_told_so_and_may_not_replace(
    trackside: Run, platform: Platform, instance: Json, file: Path
) -> None:
    denied = Refused("denied", "Your role does not allow variable.read.", "access.denied")
    platform.refuse(f"{instance['id']}/variables", denied)
    ran = trackside("variables", "import", "--yes", *HERE)
    assert ran.code == 0
    assert "This token may not see what is set" in ran.err
    assert platform.variables["NEW"] == "a b"
    platform.refuse(f"{instance['id']}/variables", denied)
    assert trackside("variables", "import", "--yes", "--replace", *HERE).code == 4
    assert "LEFT" in platform.variables


VALUES = [
    "",
    " ",
    "a=b=c",
    "$HOME `id` \\n",
    "'\"",
    "line\nline\n",
    "\ttab\\",
    "é 🚂",
    "#",
    "\r\n",
    "x\r",
    "\u2028\x85",
]


def test_what_is_exported_imports_into_another_service_byte_for_byte(
    process: Process, platform: Platform, instance: Json, twin: Twin
) -> None:
    wanted = {f"V{number}": value for number, value in enumerate(VALUES)}
    platform.variables = dict(wanted)
    exported = process("variables", "export", *HERE)
    assert exported.returncode == 0
    platform.variables = {}
    ran = process("variables", "import", "-", "--yes", *HERE, given=exported.stdout)
    assert ran.returncode == 0, ran.stderr
    assert platform.variables == wanted
    assert process("variables", "export", *HERE).stdout == exported.stdout
