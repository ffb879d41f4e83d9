"""How a written command becomes process 1."""

import os
import subprocess
from pathlib import Path

import pytest

from trackside_planner import process_arguments

SHELL = ("/bin/sh", "-c")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("node server.js", ("node", "server.js")),
        ("python -c 'print(1)'", (*SHELL, "exec python -c 'print(1)'")),
        ("serve --name 'two words'", ("serve", "--name", "two words")),
        ("serve --port $PORT", (*SHELL, "exec serve --port $PORT")),
        ("serve --port=${PORT:-80}", (*SHELL, "exec serve --port=${PORT:-80}")),
        ("migrate && serve", (*SHELL, "migrate && exec serve")),
        ("A=1 B='x y' serve", (*SHELL, "A=1 B='x y' exec serve")),
        ("cd app && A=1 serve", (*SHELL, "cd app && A=1 exec serve")),
        ("serve | tee log", (*SHELL, "serve | tee log")),
        ("a; b", (*SHELL, "a; b")),
        ("worker & serve", (*SHELL, "worker & serve")),
        ("exec serve $X", (*SHELL, "exec serve $X")),
        ("serve 'a && b' $X", (*SHELL, "exec serve 'a && b' $X")),
        ("a && serve 'x && y'", (*SHELL, "a && exec serve 'x && y'")),
        ("serve > /dev/null", (*SHELL, "exec serve > /dev/null")),
        ("if true; then serve; fi", (*SHELL, "if true; then serve; fi")),
        ("a || b", (*SHELL, "a || b")),
        ("a &&", (*SHELL, "a &&")),
    ],
)
def test_a_plain_command_has_no_shell_and_others_end_in_exec(command: str, arguments: tuple[str, ...]) -> None:
    assert process_arguments(command) == arguments


@pytest.mark.parametrize("command", ["", "   ", "echo 'open"])
def test_what_is_no_command_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"empty|quot"):
        process_arguments(command)


@pytest.mark.parametrize("command", ["true && A=1 sh {0} $X", "B=2 sh {0} '&& echo' \"$X\"", "sh {0} > /dev/stdout"])
def test_the_app_is_the_process_that_was_started(command: str, tmp_path: Path) -> None:
    script = tmp_path / "print-id.sh"
    script.write_text("echo $$\n")
    environment = {"PATH": os.environ["PATH"], "X": "x"}
    process = subprocess.Popen(
        process_arguments(command.format(script)), env=environment, stdout=subprocess.PIPE, text=True
    )
    assert int(process.communicate()[0]) == process.pid
