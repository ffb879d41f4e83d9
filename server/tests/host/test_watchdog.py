"""Who is taken for hanging: what lives and has been silent for long; never what is slow, starts, or is away."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trackside.host.answering import Door, Heard, Language, ask, silent_parts
from trackside.host.watchdog import LENIENCE, LOOKS, WORK_TICKS, Watch, is_hanging, judge

ANSWER = Heard(is_there=True, pid=7, is_answered=True)
SILENCE = Heard(is_there=True, pid=7)
FULL = Heard(is_there=True)  # so many questions wait that the kernel takes no other
NOBODY = Heard(is_there=False)


def after(*said: Heard, work: int = 0) -> Watch:
    """What is known after these answers and silences, with `work` ticks of processor time between two."""
    watch = Watch()
    for number, heard in enumerate(said):
        watch = judge(watch, heard, number * work)
    return watch


def test_one_that_answered_and_is_silent_for_long_is_hanging() -> None:
    assert not is_hanging(after(ANSWER, *[SILENCE] * (LOOKS - 1)))
    assert is_hanging(after(ANSWER, *[SILENCE] * LOOKS))
    assert is_hanging(after(ANSWER, SILENCE, *[FULL] * (LOOKS - 1)))


def test_one_that_is_slow_and_answers_now_and_then_is_not() -> None:
    assert not is_hanging(after(*[ANSWER, *[SILENCE] * (LOOKS - 1)] * 10))


def test_one_that_works_though_it_does_not_answer_has_more_time() -> None:
    assert is_hanging(after(ANSWER, *[SILENCE] * LOOKS, work=WORK_TICKS - 1))
    assert not is_hanging(after(ANSWER, *[SILENCE] * (LOOKS * LENIENCE - 1), work=WORK_TICKS))
    assert is_hanging(after(ANSWER, *[SILENCE] * (LOOKS * LENIENCE + 1), work=WORK_TICKS))  # it goes round in circles


def test_one_that_starts_has_more_time() -> None:
    assert not is_hanging(after(*[SILENCE] * (LOOKS * LENIENCE - 1)))
    assert is_hanging(after(*[SILENCE] * (LOOKS * LENIENCE)))
    begun_anew = Heard(is_there=True, pid=8)
    assert not is_hanging(after(ANSWER, *[SILENCE] * (LOOKS - 1), *[begun_anew] * LOOKS))


def test_one_that_is_not_there_is_the_supervisors_matter() -> None:
    assert not is_hanging(after(ANSWER, *[NOBODY] * LOOKS * LENIENCE))
    assert not is_hanging(after(*[FULL] * LOOKS * LENIENCE))  # nobody knows whom to kill


SERVER = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen()
print("listens", flush=True)
while True:
    client, _ = door.accept()
    client.recv(100)
    client.sendall(b"here")
    client.close()
    print("was asked", flush=True)
"""


@contextmanager
def a_server(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("language", Language)
def test_a_stopped_process_is_there_and_silent_and_is_named(language: Language, tmp_path: Path) -> None:
    door = Door("part", language, str(tmp_path / "door"))
    assert ask(door, 0.1) == NOBODY
    with a_server(tmp_path / "door") as process:
        assert ask(door, 5) == Heard(is_there=True, pid=process.pid, is_answered=True)
        assert silent_parts([door], 5) == set()
        os.kill(process.pid, signal.SIGSTOP)
        assert ask(door, 0.1) == Heard(is_there=True, pid=process.pid)
        assert silent_parts([door], 0.1) == {"part"}
    assert silent_parts([door], 0.1) == set()


def test_a_full_queue_of_questions_is_silence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as waiting:
        listening.bind(str(tmp_path / "door"))
        listening.listen(0)
        waiting.connect(str(tmp_path / "door"))
        assert ask(Door("part", Language.HTTP, str(tmp_path / "door")), 0.1) == FULL


def test_the_watchdog_kills_what_hangs_and_nothing_else(tmp_path: Path) -> None:
    paths = [tmp_path / "well", tmp_path / "hangs"]
    doors = [f"{path.name}:{Language.HTTP}:{path}" for path in paths]
    with a_server(paths[0]) as well, a_server(paths[1]) as hangs:
        watchdog = subprocess.Popen(
            [sys.executable, "-m", "trackside.host.watchdog", "0.6", *doors], stdout=subprocess.PIPE, text=True
        )
        try:
            assert hangs.stdout is not None
            assert hangs.stdout.readline() == b"was asked\n"
            os.kill(hangs.pid, signal.SIGSTOP)
            assert hangs.wait(20) == -signal.SIGKILL
            assert watchdog.stdout is not None
            said = watchdog.stdout.readline()
            assert said == f"hangs (process {hangs.pid}) has not answered for 0.6 s: killed, to be started anew\n"
            assert well.poll() is None
        finally:
            watchdog.terminate()
            watchdog.wait(10)
            assert watchdog.stdout is not None
            watchdog.stdout.close()
