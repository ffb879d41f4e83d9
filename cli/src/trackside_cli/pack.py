"""A directory as a stream of tar.gz: what git would not ignore, in one order, never whole in memory."""

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trackside_cli.acceptable import refusal
from trackside_cli.errors import FileError, NameRefused, UsageError
from trackside_cli.ignore import Rules, is_ignored, parse

IGNORE_FILES = (".gitignore", ".tracksideignore")  # the later is the stronger
NEVER = frozenset({".git", ".trackside", ".trackside.json"})  # history, a platform's own state, and the link
CHUNK = 256 * 1024
RENAME = "Rename or change it, or leave it out with a line in .tracksideignore."
BLOCK = 512  # of a tar archive


@dataclass(frozen=True)
class Entry:
    """Something to pack: `name` is its path below the directory, with slashes."""

    name: str
    path: Path
    status: os.stat_result


@dataclass(frozen=True)
class Tree:
    """What a directory holds to be packed; `skipped` are names that no archive can carry (sockets, devices)."""

    entries: tuple[Entry, ...]
    skipped: tuple[str, ...]

    @property
    def files(self) -> int:
        return sum(1 for entry in self.entries if stat.S_ISREG(entry.status.st_mode))

    @property
    def size_bytes(self) -> int:
        return sum(entry.status.st_size for entry in self.entries if stat.S_ISREG(entry.status.st_mode))


def survey(directory: Path) -> Tree:
    """Find what is to be packed. Raises `UsageError` for what is no directory, `FileError` for what can't be read."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory.", hint="Name the directory to upload: `trackside up DIR`.")
    try:
        root, stack = _above(directory.resolve())
        prefix = f"{root}/" if root else ""
        found = list(_walk(directory.resolve(), prefix, len(prefix), stack))
    except OSError as error:
        raise _unreadable(error.filename or directory, error) from error
    entries = tuple(entry for entry in found if _is_packable(entry.status.st_mode))
    skipped = tuple(entry.name for entry in found if not _is_packable(entry.status.st_mode))
    return Tree(entries, skipped)


def check(tree: Tree) -> None:
    """Refuse what the platform would refuse. Raises `NameRefused`, naming what it is."""
    links = {entry.name: _target(entry) for entry in tree.entries if stat.S_ISLNK(entry.status.st_mode)}
    if found := refusal((entry.name for entry in tree.entries), links):
        raise NameRefused(f"`{found[0]}` {found[1]}, so the platform would refuse the upload.", hint=RENAME)


def _above(directory: Path) -> tuple[str, list[Rules]]:
    """Where the directory lies in its repository, and the ignore files above it: their rules hold for it too."""
    for root in (directory, *directory.parents):
        if (root / ".git").exists():
            break
    else:
        return "", []
    inside = directory.relative_to(root).parts
    stack: list[Rules] = []
    for depth in range(len(inside)):
        base = "".join(f"{part}/" for part in inside[:depth])
        stack += _ignore_files(root.joinpath(*inside[:depth]), base)
    return "/".join(inside), stack


def _walk(directory: Path, base: str, cut: int, stack: list[Rules]) -> Iterator[Entry]:
    """All below `directory` that is not ignored. `base` is its path in the repository; `cut`, what names leave out."""
    rules = [*stack, *_ignore_files(directory, base)]
    for item in sorted(os.scandir(directory), key=lambda item: item.name):
        path = base + item.name
        is_directory = item.is_dir(follow_symlinks=False)
        if item.name in NEVER or is_ignored(path, rules, is_directory=is_directory):
            continue
        yield Entry(path[cut:], Path(item.path), item.stat(follow_symlinks=False))
        if is_directory:
            yield from _walk(Path(item.path), f"{path}/", cut, rules)


def _ignore_files(directory: Path, base: str) -> list[Rules]:
    found: list[Rules] = []
    for name in IGNORE_FILES:
        path = directory / name
        if path.is_file() and not path.is_symlink():  # as git: a link is not followed
            found.append(parse(base, path.read_bytes().decode("utf-8", "surrogateescape")))
    return found


def _is_packable(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def stream(tree: Tree, on_read: Callable[[int], None]) -> Iterator[bytes]:
    """The archive in pieces of about 256 KiB; `on_read` hears how many bytes of files have been read so far."""
    squeeze = zlib.compressobj(level=5, wbits=31)  # 31: with gzip's header, without a time, so equal trees pack equally
    ready = bytearray()
    for piece in _tar(tree, on_read):
        ready += squeeze.compress(piece)
        if len(ready) >= CHUNK:
            yield bytes(ready)
            ready.clear()
    ready += squeeze.flush()
    yield bytes(ready)


def _tar(tree: Tree, on_read: Callable[[int], None]) -> Iterator[bytes]:
    done = 0
    for entry in tree.entries:
        yield _header(entry)
        if stat.S_ISREG(entry.status.st_mode):
            for piece in _content(entry):
                done += len(piece)
                on_read(done)
                yield piece
            yield b"\0" * (-entry.status.st_size % BLOCK)
    yield b"\0" * (2 * BLOCK)


def _header(entry: Entry) -> bytes:
    """A header without the user's name and number: they mean nothing elsewhere."""
    import tarfile  # takes 5 ms: not at every start

    info = tarfile.TarInfo(entry.name)
    mode = entry.status.st_mode
    info.mode = stat.S_IMODE(mode) & 0o777
    info.mtime = int(entry.status.st_mtime)
    if stat.S_ISDIR(mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        info.type = tarfile.SYMTYPE
        info.linkname = _target(entry)
    else:
        info.size = entry.status.st_size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _target(entry: Entry) -> str:
    try:
        return str(entry.path.readlink())
    except OSError as error:
        raise _unreadable(entry.path, error) from error


def _content(entry: Entry) -> Iterator[bytes]:
    """Exactly as many bytes as the header says, or an error: a file that changes would break every entry after it."""
    left = entry.status.st_size
    try:
        with entry.path.open("rb") as file:
            while left and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece
    except OSError as error:
        raise _unreadable(entry.path, error) from error
    if left:
        raise FileError(
            f"{entry.path} shrank while it was packed.", hint="Try again when nothing writes to the directory."
        )


def _unreadable(path: object, error: OSError) -> FileError:
    return FileError(
        f"{path} can't be read: {error.strerror}.",
        hint="Mend its rights, or leave it out with a line in .tracksideignore.",
    )
