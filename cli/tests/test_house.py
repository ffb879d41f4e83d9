"""The command line as a whole: its help, its reference page, its start, its law."""

import ast
import os
import re
import resource
import socket
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest

import trackside_cli
from harness import Process, Run
from trackside_cli import docs, moments, version
from trackside_cli.errors import CommandError, ExitCode, Unreachable
from trackside_cli.patience import Patience
from twin import Platform

SOURCES = sorted(Path(trackside_cli.__file__).parent.rglob("*.py"))
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
COMMANDS = [line[5:-1] for line in docs.page().splitlines() if line.startswith("### `")]


def test_the_reference_page_is_what_the_commands_say() -> None:
    assert REFERENCE.read_text() == docs.page(), "write it anew: python -m trackside_cli.docs > docs/reference/cli.md"


def test_every_command_that_was_promised_is_there() -> None:
    promised = (
        "login logout whoami link up deploy deployments status logs events scale rollback redeploy restart cancel down "
        "open queue"
    )
    groups = [
        f"{noun} {verb}" for noun in ("project", "service", "environment") for verb in ("create", "list", "delete")
    ]
    variables = [f"variables {verb}" for verb in ("set", "list", "delete", "import", "export")]
    config = [f"config {verb}" for verb in ("get", "set", "unset")]
    wanted = [*promised.split(), *groups, *variables, *config, "explain deployment", "server", "admin"]
    assert set(COMMANDS) == {f"trackside {one}" for one in wanted}


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.split()[1] not in ("server", "admin")])
def test_help_is_the_golden_one(trackside: Run, command: str) -> None:
    ran = trackside(*command.split()[1:], "--help")
    words = " ".join(ran.out.split())
    (golden,) = [part for part in docs.page().split("### ") if part.startswith(f"`{command}`\n")]
    assert ran.code == 0
    assert " ".join(golden.split("```")[1].removeprefix("text").split()) == words


@pytest.mark.parametrize("arguments", [("server", "start", "--json"), ("server",), ("admin", "replay", "--help")])
def test_commands_of_the_machine_say_where_they_work(trackside: Run, arguments: tuple[str, ...]) -> None:
    ran = trackside(*arguments)
    assert ran.code == 1
    assert f"bin/trackside {arguments[0]}" in ran.err


@pytest.mark.parametrize("arguments", [("nonsense",), ("up", "--nonsense"), ("scale",), ("project",)])
def test_a_command_line_that_is_not_valid_ends_with_2(trackside: Run, arguments: tuple[str, ...]) -> None:
    assert trackside(*arguments).code == 2


def test_the_version_is_the_package_s() -> None:
    assert metadata.version("trackside-cli") == version.VERSION


def test_version_is_quick(process: Process) -> None:
    def seconds() -> float:
        """Of the processor, because the machine may be busy with other tests."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = process("--version")
        assert ran.stdout.decode() == f"trackside {version.VERSION}\n"
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.25


def test_a_start_does_not_load_what_it_does_not_need() -> None:
    code = "import sys, trackside_cli.main; print([m for m in ('httpx', 'rich', 'ssl') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert loaded.stdout == "[]\n"


def test_completion_can_be_had(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TRACKSIDE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "trackside dep")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert process().stdout.split() == [b"deploy", b"deployments"]


def test_it_never_imports_the_server() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "trackside" for name in names), path


def test_only_the_client_speaks_http_and_only_the_printer_prints() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert "import httpx" not in text or path.name == "transport.py"
        assert not re.search(r"(?<![\w.])print\(", text) or path.name == "output.py"


@pytest.mark.parametrize(
    ("mine", "servers", "word"),
    [
        ("0.1.0", "0.1.7", None),
        ("0.1.0", "0.2.0", "older"),
        ("1.0.0", "0.9.0", "newer"),
        ("0.10.0", "0.9.0", "newer"),
        ("1.0", "1.0.0rc1", None),
        ("1.0.0", "", None),
    ],
)
def test_versions_differ_by_major_and_minor(mine: str, servers: str, word: str | None) -> None:
    found = version.difference(mine, servers)
    assert (found is None) if word is None else (found is not None and word in found)


def raising(error: CommandError) -> None:
    raise error


def test_patience_grows_and_ends() -> None:
    pauses: list[float] = []
    said: list[str] = []
    patience = Patience(said.append, limit=0.0, pause=pauses.append)
    gone = Unreachable("Gone.", was_sent=False)
    patience.wait(gone)
    with pytest.raises(CommandError):
        patience.call(lambda: raising(gone))
    assert said == ["Gone. Trying again…"]
    patient = Patience(said.append, pause=pauses.append)
    pauses.clear()
    for _ in range(7):
        patient.wait(gone)
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_what_left_already_is_not_sent_twice() -> None:
    calls: list[int] = []

    def ask() -> None:
        calls.append(1)
        raise Unreachable("Broke.", was_sent=True)

    with pytest.raises(Unreachable):
        Patience(lambda _: None, pause=lambda _: None).call(ask, is_repeatable=False)
    assert len(calls) == 1


def test_spans_and_ages_read_well() -> None:
    at = moments.parse_time("2026-01-31T12:00:00Z")
    assert at is not None
    assert moments.parse_since("1h30m", at) == "2026-01-31T10:30:00Z"
    assert moments.parse_since("2026-01-31T13:00:00+02:00", at) == "2026-01-31T11:00:00Z"
    assert moments.parse_since("9999999999w", at) == "1970-01-01T00:00:00Z"
    ages = [
        moments.age(text, at) for text in ("2026-01-31T11:59:58Z", "2026-01-31T11:55:00Z", "2026-01-29T11:00:00Z", "x")
    ]
    assert ages == ["just now", "5 min ago", "2 days ago", ""]
    assert moments.span("2026-01-31T12:00:00Z", "2026-01-31T12:02:05Z") == "2 min 5 s"


NONSENSE = [
    b"",
    b"\x00\x01\x02",
    b"HTTP/1.1 200 OK\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"projects":3}',
    b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"projects":[{}]}',
    b"HTTP/1.1 500 X\r\nContent-Length: 3\r\n\r\noh!",
    b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 X\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 400 X\r\nContent-Length: 13\r\n\r\n{"error": "x"}'[:-1],
    b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"projects": [',
]


@pytest.mark.parametrize("answer", NONSENSE)
def test_a_stranger_at_the_address_is_told_in_a_sentence(
    trackside: Run, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            connection.recv(65536)
            connection.sendall(answer)
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("TRACKSIDE_API_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        ran = trackside("status")
    assert ran.code in (ExitCode.FAILED, ExitCode.UNAVAILABLE)
    assert ran.err.startswith("error: ")
    assert ran.out == ""


def test_a_directory_that_was_removed_under_the_shell_is_told(process: Process, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    ran = process("status")
    assert ran.returncode == 1
    assert b"Traceback" not in ran.stderr


def test_arguments_that_are_no_text_are_refused(process: Process, platform: Platform) -> None:
    for arguments in ((b"project", b"create", b"\xff"), (b"status", b"-p", b"\xff"), (b"logs", b"\xff")):
        ran = process(*arguments)
        assert ran.returncode in (2, 5)
        assert b"Traceback" not in ran.stderr
