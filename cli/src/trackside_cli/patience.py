"""Waiting out an API that is away: its restart must not end a command that watches."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from trackside_cli import moments
from trackside_cli.errors import CommandError, Unreachable, is_passing

Answer = TypeVar("Answer")

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
LIMIT = 300.0


class Patience:
    """Back-off: 0.2 s, doubling to 5 s, until the API was away for `limit` seconds in a row; then it raises.

    `say` tells the person once when the API goes and once when it is back.
    """

    def __init__(
        self, say: Callable[[str], None], *, limit: float = LIMIT, pause: Callable[[float], None] = moments.pause
    ) -> None:
        self._say = say
        self._limit = limit
        self._pause = pause
        self._next_pause = FIRST_PAUSE
        self._away_since: float | None = None

    def call(self, ask: Callable[[], Answer], *, is_repeatable: bool = True) -> Answer:
        """The answer, however often it must be asked. What is not repeatable is asked again only if it never left."""
        while True:
            try:
                answer = ask()
            except CommandError as error:
                if not is_repeatable and not (isinstance(error, Unreachable) and not error.was_sent):
                    raise
                self.wait(error)
            else:
                self.reset()
                return answer

    @contextmanager
    def bearing(self) -> Generator[None, None, None]:
        """A block that may break off; when it does, the pause is made and the block left quietly."""
        try:
            yield
        except CommandError as error:
            self.wait(error)

    def wait(self, error: CommandError) -> None:
        """Pause if the error may pass and patience is left; else raise it."""
        now = moments.monotonic()
        if not is_passing(error):
            raise error
        if self._away_since is None:
            self._away_since = now
            self._say(f"{error.sentence} Trying again…")
        if now - self._away_since > self._limit:
            raise error
        self._pause(self._next_pause)
        self._next_pause = min(self._next_pause * 2, LONGEST_PAUSE)

    def breathe(self) -> None:
        """A short pause between two rounds."""
        self._pause(FIRST_PAUSE)

    def reset(self) -> None:
        """The API has answered."""
        if self._away_since is not None:
            self._say("The platform answers again.")
        self._away_since = None
        self._next_pause = FIRST_PAUSE
