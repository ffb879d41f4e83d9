"""Where a repository's host really is: its addresses, each of them allowed, pinned for the connection that follows."""

import asyncio
import socket
from pathlib import Path

from trackside.adapters.git.options import GitOptions
from trackside.adapters.git.urls import RepositoryUrl, Transport, is_public
from trackside.rooms.builds.errors import SourceRefused, SourceUnreachable

_ALLOW = "The operator allows such addresses with the setting `allow_private_sources`."


async def allowed_addresses(url: RepositoryUrl, options: GitOptions) -> tuple[str, ...]:
    """Every address of the host, IPv4 first. Refused where any is not public, unless private ones are allowed."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port or 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceUnreachable(f"The host `{url.host}` is not known.") from error
    addresses = sorted({str(entry[4][0]) for entry in found}, key=lambda address: (":" in address, address))
    if not options.allow_private:
        for address in addresses:
            if not is_public(address):
                raise SourceRefused(f"The host `{url.host}` leads to an address of a private network.", hint=_ALLOW)
    return tuple(addresses)


def allowed_repository(path: str, options: GitOptions) -> Path:
    """The real place of a repository on this machine; refused outside of the allowed roots, whatever links lead there."""
    real = Path(path).resolve()
    roots = [root.resolve() for root in options.file_roots]
    is_closed = any(real.is_relative_to(closed.resolve()) for closed in options.closed)
    if is_closed or not any(real.is_relative_to(root) for root in roots):
        raise SourceRefused(
            f"Repositories on this machine are fetched only below the directories that the operator allows; `{path}` is not.",
            hint="Upload the directory with `trackside up`, or add it to the setting `file_source_roots`.",
        )
    if not real.is_dir():
        raise SourceUnreachable(f"There is no repository at `{path}`.")
    store = real / ".git" if (real / ".git").exists() else real
    if store.is_symlink() or not store.is_dir() or (store / "commondir").exists():
        raise SourceRefused(
            f"The repository at `{path}` keeps its objects somewhere else.", hint="Use a repository of its own."
        )
    _check_alternates(store, roots, path)
    return real


def _check_alternates(store: Path, roots: list[Path], path: str) -> None:
    """A repository may borrow objects of another one: only of one that is allowed too."""
    alternates = store / "objects" / "info" / "alternates"
    objects = (store / "objects").resolve()
    borrowed = alternates.read_text(errors="replace").splitlines() if alternates.is_file() else []
    for other in [objects, *((objects / line).resolve() for line in borrowed if line and not line.startswith("#"))]:
        if not any(other.is_relative_to(root) for root in roots):
            raise SourceRefused(f"The repository at `{path}` keeps objects outside of the allowed directories.")


def is_local(url: RepositoryUrl) -> bool:
    return url.transport is Transport.FILE
