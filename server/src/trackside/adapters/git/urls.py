"""What a repository's URL may be, and what it means. Pure: no name is resolved here."""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote, urlsplit

from trackside.rooms.builds.errors import SourceRefused


class Transport(StrEnum):
    HTTPS = "https"
    HTTP = "http"
    SSH = "ssh"
    FILE = "file"


@dataclass(frozen=True)
class RepositoryUrl:
    """A parsed URL. `host`, `port` and `user` are empty for files; `path` is as the transport wants it."""

    transport: Transport
    path: str
    host: str = ""
    port: int | None = None
    user: str = ""

    @property
    def text(self) -> str:
        """The URL as git is given it, written by us from the parts."""
        if self.transport is Transport.FILE:
            return f"file://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.transport}://{user}{host}{port}{self.path}"


_SCP_LIKE = re.compile(
    r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(?P<path>(?!//)[^\s].*)"
)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
_USER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PATH = re.compile(r"/[^\x00-\x20\x7f\\?#]*")
_DEFAULT_PORTS = {Transport.HTTPS: 443, Transport.HTTP: 80, Transport.SSH: 22}
_LONGEST = 2048


def parse_url(text: str) -> RepositoryUrl:
    """The URL's parts. Raises `SourceRefused` for everything that is not plainly https, http, ssh or a file.

    A password in a URL is refused, for URLs are stored and shown.
    """
    if not text or len(text) > _LONGEST or any(ord(character) < 33 or ord(character) == 127 for character in text):
        raise SourceRefused("The repository's URL is empty, too long, or has blanks or control characters in it.")
    if text.startswith("-") or "::" in text.partition("/")[0].partition("[")[0] or "\\" in text:
        raise SourceRefused("The repository's URL has a form that is not allowed.")
    if text.startswith("/"):
        return _file(text)
    if "://" not in text:
        return _scp_like(text)
    scheme = text.partition("://")[0].lower()
    if scheme == "file":
        return _file(unquote(text[len("file://") :].removeprefix("localhost")))
    return _network(scheme, text)


def _file(path: str) -> RepositoryUrl:
    if not path.startswith("/") or path.startswith("//") or "\0" in path or "\n" in path:
        raise SourceRefused("A file URL needs an absolute path: `file:///path/to/repository`.")
    return RepositoryUrl(Transport.FILE, path)


def _scp_like(text: str) -> RepositoryUrl:
    """`git@host:owner/name.git`; without a user or a dot in the host it could as well be a mistake, so a user is needed."""
    match = _SCP_LIKE.fullmatch(text)
    if match is None or not match["user"]:
        raise SourceRefused(
            "The repository's URL has no scheme: write `https://host/path`, `ssh://user@host/path` or `user@host:path`."
        )
    path = match["path"]
    return _checked(
        RepositoryUrl(
            Transport.SSH, path if path.startswith("/") else f"/{path}", match["host"].strip("[]"), None, match["user"]
        )
    )


def _network(scheme: str, text: str) -> RepositoryUrl:
    if scheme not in ("https", "http", "ssh"):
        raise SourceRefused(f"Repositories are not fetched by `{scheme[:20]}://`.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SourceRefused("The repository's URL can't be read.") from error
    if parts.password is not None:
        raise SourceRefused(
            "The repository's URL holds a password.", hint="Give the access token by itself: URLs are stored and shown."
        )
    if parts.query or parts.fragment:
        raise SourceRefused(
            "The repository's URL has a query or a fragment.", hint="Give the branch and the directory by themselves."
        )
    transport = Transport(scheme)
    user = unquote(parts.username or "") if transport is Transport.SSH else ""
    if parts.username and transport is not Transport.SSH:
        raise SourceRefused("The repository's URL holds a user name.", hint="Give the access token by itself.")
    port = None if port == _DEFAULT_PORTS[transport] else port
    return _checked(RepositoryUrl(transport, parts.path, (parts.hostname or "").lower(), port, user))


def _checked(url: RepositoryUrl) -> RepositoryUrl:
    is_address = _address(url.host) is not None
    if not is_address and (not _HOST.fullmatch(url.host) or looks_numeric(url.host)):
        raise SourceRefused("The repository's URL has no proper host name.")
    if url.user and (not _USER.fullmatch(url.user) or url.user.startswith("-")):
        raise SourceRefused("The repository's URL has a user name that is not allowed.")
    if not _PATH.fullmatch(url.path) or len(url.path) < 2 or "/-" in url.path[:2]:
        raise SourceRefused("The repository's URL has no proper path.")
    if url.port == 0:
        raise SourceRefused("The repository's URL has no proper port.")
    return url


def looks_numeric(host: str) -> bool:
    """`2130706433`, `0x7f.1`, `127.1`: other ways of writing an address, which some resolvers understand."""
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdigit() or last.lower().startswith("0x")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet: not loopback, private, link-local (metadata), multicast or reserved.

    An IPv6 address that stands for an IPv4 one is judged by that one.
    """
    found = _address(address.partition("%")[0])
    if found is None:
        return False
    return all(other.is_global and not other.is_multicast and not other.is_reserved for other in _meant(found))


def _meant(address: IPv4Address | IPv6Address) -> tuple[IPv4Address | IPv6Address, ...]:
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if int(address) >> 32 in (_NAT64, 0):
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address, *(other for other in (address.sixtofour, *(address.teredo or ())) if other is not None))


_NAT64 = 0x0064FF9B << 64
"""The first 96 bits of 64:ff9b::/96, by which IPv6-only networks reach IPv4 addresses."""

_REFERENCE = re.compile(r"(?!.*(\.\.|@\{|//|\.lock(/|$)|/\.))[A-Za-z0-9_.][A-Za-z0-9_./+@#=-]{0,249}(?<![./])")


def check_reference(reference: str) -> str:
    """A branch, tag or commit as git allows it, less what could be taken for an option or a pattern."""
    if not _REFERENCE.fullmatch(reference):
        raise SourceRefused(
            f"`{''.join(c for c in reference[:80] if c.isprintable())}` is no name of a branch, tag or commit."
        )
    return reference


def resolve_submodule(parent: RepositoryUrl, text: str) -> RepositoryUrl:
    """A submodule's URL; `./` and `../` are relative to its parent's."""
    if not text.startswith(("./", "../")):
        return parse_url(text)
    parts = parent.path.rstrip("/").split("/")
    for step in text.rstrip("/").split("/"):
        if step == "..":
            if len(parts) <= 1:
                raise SourceRefused("A submodule's relative URL leads above its host.")
            parts.pop()
        elif step not in (".", ""):
            parts.append(step)
    return parse_url(RepositoryUrl(parent.transport, "/".join(parts), parent.host, parent.port, parent.user).text)
