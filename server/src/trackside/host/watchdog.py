"""The watchdog: kills an engine or database of ours that lives and has not answered for long; the supervisor starts it anew.

Slow is not silent: it is asked again and again, each question may take a while, and one that is starting, or works though it
does not answer, has twenty times as long. Run as `python -m trackside.host.watchdog SECONDS NAME:LANGUAGE:SOCKET…`. The standard
library only.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from trackside.host.answering import Door, Heard, ask_all
from trackside.host.process_table import processor_ticks

LOOKS = 6
"""Questions in a row without an answer; each may take a sixth of the time. A watchdog that was stopped itself has missed
the answers of one of them only."""
LENIENCE = 20
"""How many times as long one may take that has never answered (it loads what it has on a slow disk), or that works meanwhile: the
build engine, which yields to all others, may come late on a busy machine."""
WORK_TICKS = 3
"""Of processor time between two questions, hundredths of a second each, that are work; deadlocked programs still have clocks."""


@dataclass(frozen=True)
class Watch:
    """What is known of who answers at a door: whether it ever did, the questions in a row that it has not answered (one counts
    little while it works), and the processor time it had used by the last one.
    """

    pid: int = 0
    has_answered: bool = False
    silent: float = 0
    ticks: int = 0


def judge(before: Watch, heard: Heard, ticks: int) -> Watch:
    """What is known after one more question, and `ticks` of processor time. Pure."""
    if not heard.is_there:
        return Watch()
    if heard.pid and heard.pid != before.pid:
        before = Watch(heard.pid, ticks=ticks)
    if heard.is_answered:
        return replace(before, has_answered=True, silent=0, ticks=ticks)
    is_working = ticks - before.ticks >= WORK_TICKS
    return replace(before, silent=before.silent + (1 / LENIENCE if is_working else 1), ticks=ticks)


def is_hanging(watch: Watch) -> bool:
    """Whether it has been silent for so long that it is taken for hanging. Pure."""
    return bool(watch.pid) and watch.silent >= LOOKS * (1 if watch.has_answered else LENIENCE)


def watch_over(doors: Sequence[Door], seconds: float) -> None:
    """Ask for ever."""
    watches = {door: Watch() for door in doors}
    pause = seconds / LOOKS
    while True:
        began = time.monotonic()
        for door, heard in ask_all(doors, pause).items():
            watches[door] = judge(watches[door], heard, processor_ticks(heard.pid or watches[door].pid))
            if is_hanging(watches[door]):
                end(door, watches[door].pid, seconds)
                watches[door] = Watch()
        time.sleep(max(0.0, began + pause - time.monotonic()))


def end(door: Door, pid: int, seconds: float) -> None:
    """Kill it: what hangs hears no other signal. The supervisor brings it back."""
    sys.stdout.write(f"{door.name} (process {pid}) has not answered for {seconds:g} s: killed, to be started anew\n")
    sys.stdout.flush()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    watch_over([Door.from_text(text) for text in sys.argv[2:]], float(sys.argv[1]))
