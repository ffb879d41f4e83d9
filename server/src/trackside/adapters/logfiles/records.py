"""A line of log as a line of text: NDJSON, one object a line, `seq` first. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from trackside.rooms.telemetry.model import Line

SEQ = b'{"seq":'
CUT_MARK = " … (cut: the line had {size} bytes)"


class Record(msgspec.Struct, omit_defaults=True):
    """How a line is written. The order of the fields is the order in the file."""

    seq: int
    at: datetime
    message: str
    level: str = "info"
    replica: UUID | None = None
    attributes: Mapping[str, str] = {}

    def line(self) -> Line:
        return Line(self.at, self.message, self.level, self.replica, self.attributes, self.seq)


ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(Record)


def encode(lines: Sequence[Line], first_seq: int, longest: int) -> bytes:
    """The lines as text, numbered from `first_seq`; messages of more than `longest` bytes are cut and marked."""
    return b"".join(encode_line(line, first_seq + index, longest) for index, line in enumerate(lines))


def encode_line(line: Line, seq: int, longest: int) -> bytes:
    message = line.message if len(line.message) * 4 <= longest else cut(line.message, longest)
    try:
        return ENCODER.encode(Record(seq, line.at, message, line.level, line.replica_id, line.attributes)) + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair somewhere: replaced, never dropped
        attributes = {sound(name): sound(value) for name, value in line.attributes.items()}
        record = Record(seq, line.at, sound(message), sound(line.level), line.replica_id, attributes)
        return ENCODER.encode(record) + b"\n"


def sound(text: str) -> str:
    return text.encode(errors="replace").decode()


def cut(message: str, longest: int) -> str:
    encoded = message.encode(errors="replace")
    if len(encoded) <= longest:
        return message
    return encoded[:longest].decode(errors="ignore") + CUT_MARK.format(size=len(encoded))


def decode(text: bytes) -> Record | None:
    """The record in a line of a file; None where a fault of the disk made it unreadable."""
    try:
        return DECODER.decode(text)
    except msgspec.DecodeError:
        return None


def seq_of(text: bytes, start: int) -> int:
    """The number of the line that begins at `start`, without decoding the rest; 0 where it is unreadable."""
    if not text.startswith(SEQ, start):
        return 0
    digits = text[start + len(SEQ) : text.find(b",", start, start + 40)]
    return int(digits) if digits.isdigit() else 0


def start_after(text: bytes, seq: int) -> int:
    """Where the first line with a number greater than `seq` begins: by halving, for numbers ascend."""
    low, high = 0, len(text)
    while low < high:
        middle = text.rfind(b"\n", low, (low + high) // 2) + 1 or low
        if seq_of(text, middle) > seq:
            high = middle
        else:
            low = text.index(b"\n", middle) + 1
    return low


def forwards(text: bytes, start: int) -> Iterator[Record]:
    """The records from `start` on; an unfinished last line is not one."""
    while (end := text.find(b"\n", start)) >= 0:
        if record := decode(text[start:end]):
            yield record
        start = end + 1


def backwards(text: bytes) -> Iterator[Record]:
    """The records from the last to the first; an unfinished last line is not one."""
    end = text.rfind(b"\n")
    while end > 0:
        start = text.rfind(b"\n", 0, end) + 1
        if record := decode(text[start:end]):
            yield record
        end = start - 1


def last_of(text: bytes, replica_id: UUID) -> Record | None:
    """The last record of a replica, found by its text: lines of others are not decoded."""
    mark = b'"replica":"%s"' % str(replica_id).encode()
    end = text.rfind(b"\n") + 1
    while (found := text.rfind(mark, 0, end)) >= 0:
        start = text.rfind(b"\n", 0, found) + 1
        record = decode(text[start : text.index(b"\n", found)])
        if record and record.replica == replica_id:
            return record
        end = start
    return None
