"""The supervisor (supervisord), woken by what it waits for.

By itself it sleeps for up to a second, whatever dies meanwhile, and for another one before it starts that anew: Python goes on
waiting when a signal has come. Two seconds without HAProxy are too many. Run as `python -m trackside.host.supervising -c FILE`.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from supervisor import supervisord
from supervisor.options import ServerOptions
from supervisor.poller import PollPoller


class SignalPoller(PollPoller):
    """Also returns when a signal has come, and then once more without waiting: what was found dead in one round of the
    supervisor is started in the next.
    """

    def __init__(self, options: ServerOptions) -> None:
        super().__init__(options)
        self._signals, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        self.register_readable(self._signals)
        self._has_news = False

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        """The descriptors that can be read, and those that can be written."""
        readable, writable = cast("tuple[list[int], list[int]]", super().poll(0 if self._has_news else timeout))
        self._has_news = self._signals in readable
        if self._has_news:
            readable.remove(self._signals)
            with suppress(BlockingIOError):
                while os.read(self._signals, 4096):
                    pass
        return readable, writable


def main(arguments: list[str]) -> None:
    """Supervise until told to end."""
    options: Any = ServerOptions()
    options.poller = SignalPoller(options)
    options.realize(arguments)
    options.first, options.test = True, False
    cast("Callable[[ServerOptions], None]", supervisord.go)(options)


if __name__ == "__main__":
    main(sys.argv[1:])
