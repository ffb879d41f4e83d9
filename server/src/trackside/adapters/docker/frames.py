"""The engine's log stream, decoded: frames to lines. Pure: bytes in, lines out.

Without a terminal the engine sends frames (1 byte stream, 3 zero, 4 length), one for each piece of a line of up to
16 KiB; only the last piece of a line ends in a newline. With a terminal it sends the bare text. Each piece begins with
its time.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

HEADER = 8
TIME_LENGTH = 30  # 2026-01-02T03:04:05.678901234Z
MICROSECOND_LENGTH = 26
LONGEST_LINE = 128 << 10
"""More of a line than this is read past, not kept: a line without an end must not fill the memory."""

LogLine = tuple[datetime, str, str]

STREAMS = {0: "stdout", 1: "stdout", 2: "stderr"}


@dataclass
class Begun:
    """A line whose end has not come yet. All its pieces carry the time of the first."""

    time: bytes
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, piece: bytes) -> None:
        if self.size < LONGEST_LINE:
            self.pieces.append(piece)
        self.size += len(piece)

    def line(self, stream: str) -> LogLine:
        text = b"".join(self.pieces).removesuffix(b"\n").decode(errors="replace")
        return engine_time(self.time), stream, text


class LogDecoder:
    """Takes the stream's bytes as they come, gives the lines they complete."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._rest = b""
        self._begun: dict[str, Begun] = {}

    def feed(self, data: bytes) -> list[LogLine]:
        """The lines that `data` completes, in order."""
        lines: list[LogLine] = []
        self._rest += data
        if self._is_terminal:
            self._feed_bare(lines)
        else:
            self._feed_frames(lines)
        return lines

    def finish(self) -> list[LogLine]:
        """The lines that never got an end, because the process is gone."""
        lines = [begun.line(stream) for stream, begun in self._begun.items()]
        self._begun.clear()
        return lines

    def _feed_frames(self, lines: list[LogLine]) -> None:
        buffer, at = self._rest, 0
        while len(buffer) - at >= HEADER:
            end = at + HEADER + int.from_bytes(buffer[at + 4 : at + HEADER])
            if len(buffer) < end:
                break
            self._feed_piece(STREAMS.get(buffer[at], "stdout"), buffer[at + HEADER : end], lines)
            at = end
        self._rest = buffer[at:]

    def _feed_bare(self, lines: list[LogLine]) -> None:
        *whole, self._rest = self._rest.split(b"\n")
        for text in whole:
            self._feed_piece("stdout", text.removesuffix(b"\r") + b"\n", lines)

    def _feed_piece(self, stream: str, text: bytes, lines: list[LogLine]) -> None:
        time, body = text[:TIME_LENGTH], text[TIME_LENGTH + 1 :]
        is_end = body.endswith(b"\n")
        begun = self._begun.pop(stream, None)
        if begun and begun.time != time:  # the process that began that line died, and another one writes now
            lines.append(begun.line(stream))
            begun = None
        if begun is None and is_end:
            lines.append((engine_time(time), stream, body[:-1].decode(errors="replace")))
            return
        begun = begun or Begun(time)
        begun.add(body)
        if is_end:
            lines.append(begun.line(stream))
        else:
            self._begun[stream] = begun


def engine_time(text: bytes) -> datetime:
    """A time in nanoseconds, cut to microseconds."""
    return datetime.fromisoformat(text[:MICROSECOND_LENGTH].decode()).replace(tzinfo=UTC)
