"""A lock that says that a part of the platform runs, and which process it is: so that there is never a twin.

POSIX record locks belong to a process: they stay when it turns into another program, are not handed to its children, and end
with it, however it ends. The holder must not open the file again, for closing it would let go. The standard library only:
each start of a part comes through here.
"""

import fcntl
import os
import struct
from pathlib import Path

RECORD = struct.Struct("hhqqi4x")
"""`struct flock` of 64-bit Linux: type, whence, start, length, pid."""
ABOVE = 200
"""Programs give low descriptors to files of their own choice, and what was there is closed."""


def take(file: Path) -> None:
    """Hold the lock for as long as this process lives; waits for whoever holds it."""
    fcntl.lockf(_opened(file), fcntl.LOCK_EX)


def take_or_leave(file: Path) -> bool:
    """Hold the lock if nobody does; whether it is held now."""
    try:
        fcntl.lockf(_opened(file), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder(file: Path) -> int | None:
    """The process that holds the lock, if any; not for asking about the own one."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        wanted = RECORD.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = RECORD.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else pid


def _opened(file: Path) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    low = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return fcntl.fcntl(low, fcntl.F_DUPFD, ABOVE)
    finally:
        os.close(low)
