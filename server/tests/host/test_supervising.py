"""What wakes the supervisor."""

import signal
import subprocess
import time
from collections.abc import Iterator
from types import FrameType

import pytest
from supervisor.options import ServerOptions

from trackside.host.supervising import SignalPoller

LONG = 60.0


def heard(_number: int, _frame: FrameType | None) -> None:
    return None


@pytest.fixture
def poller() -> Iterator[SignalPoller]:
    before = signal.signal(signal.SIGCHLD, heard)
    poller = SignalPoller(ServerOptions())
    yield poller
    signal.set_wakeup_fd(-1)
    poller.close()
    signal.signal(signal.SIGCHLD, before)


def test_the_supervisor_is_woken_by_the_death_of_a_child_and_looks_twice(poller: SignalPoller) -> None:
    """The first look finds it dead, the second starts it anew."""
    began = time.monotonic()
    with subprocess.Popen(["/bin/true"]):
        assert poller.poll(LONG) == ([], [])
        assert poller.poll(LONG) == ([], [])
    assert time.monotonic() - began < LONG
    began = time.monotonic()
    assert poller.poll(0.2) == ([], [])
    assert time.monotonic() - began >= 0.2, "it sleeps again"


def test_what_the_supervisor_waits_for_otherwise_wakes_it_as_before(poller: SignalPoller) -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        poller.register_readable(child.stdout.fileno())
        child.stdin.write(b"here\n")
        child.stdin.flush()
        assert poller.poll(LONG) == ([child.stdout.fileno()], [])
        poller.unregister_readable(child.stdout.fileno())
