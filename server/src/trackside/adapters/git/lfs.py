"""Large files (git LFS), fetched by ourselves: their addresses come from a server and are judged like any other.

The `git-lfs` program follows whatever address a repository or its server names; here each is checked, each file's size and hash too.
"""

import asyncio
import hashlib
import json
import re
import shutil
import ssl
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx

from trackside.adapters.git import commands
from trackside.adapters.git.commands import Home, Remote
from trackside.adapters.git.hosts import allowed_addresses
from trackside.adapters.git.options import GitOptions
from trackside.adapters.git.process import run_git
from trackside.adapters.git.urls import RepositoryUrl, Transport, parse_url
from trackside.rooms.builds.errors import SourceRefused, SourceUnreachable
from trackside.rooms.builds.ports import BuildLog

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n?"
)
_LARGEST_POINTER = 1024
_TYPE = "application/vnd.git-lfs+json"
_PER_REQUEST = 100
_LARGEST_LISTING = 16 << 20
_SECONDS = 60.0


@dataclass(frozen=True)
class _Pointer:
    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class _Server:
    """Where objects are asked for, and with which headers."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


class LargeFiles:
    """Replaces the pointers of a checked-out repository and its submodules by what they point to, within one limit for all."""

    def __init__(self, options: GitOptions, home: Home, log: BuildLog) -> None:
        self._options = options
        self._home = home
        self._log = log
        self._taken = 0

    async def fetch(self, remote: Remote, into: Path) -> None:
        pointers = await self._pointers(remote, into)
        if not pointers:
            return
        total = sum(pointer.size for pointer in pointers)
        self._take(total)
        await self._log(f"Fetching {len(pointers)} large files ({total / 1e6:.1f} MB)")
        if remote.url.transport is Transport.FILE:
            await asyncio.to_thread(_copy_local, Path(remote.url.path), pointers)
            return
        server = await self._server(remote)
        async with httpx.AsyncClient(
            verify=self._verify(), follow_redirects=False, timeout=_SECONDS, trust_env=False
        ) as client:
            for start in range(0, len(pointers), _PER_REQUEST):
                await self._batch(client, server, pointers[start : start + _PER_REQUEST])

    def _take(self, size: int) -> None:
        self._taken += size
        if self._taken > self._options.lfs_bytes:
            raise SourceRefused(
                f"The large files of the repository and its submodules are {self._taken / 1e6:.1f} MB so far, "
                f"more than the {self._options.lfs_bytes / 1e6:.1f} MB allowed.",
                hint="Keep fewer large files in the repository, or fetch them while the app is built.",
            )

    def _verify(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._home.ca_bundle) if self._home.ca_bundle else None)

    async def _pointers(self, remote: Remote, into: Path) -> list[_Pointer]:
        """The files that attributes mark as large and that are pointers."""
        environment = commands.git_environment(remote, self._home)
        listed = await run_git(["git", "ls-files", "-z"], environment, into)
        if b".gitattributes" not in listed.output:
            return []
        checked = await run_git(["git", "check-attr", "-z", "--stdin", "filter"], environment, into, listed.output)
        parts = checked.output.split(b"\0")
        names = [
            parts[i].decode("utf-8", "surrogateescape") for i in range(0, len(parts) - 2, 3) if parts[i + 2] == b"lfs"
        ]
        found = (_read_pointer(into / name) for name in names)
        return [pointer for pointer in found if pointer is not None]

    async def _server(self, remote: Remote) -> _Server:
        if remote.url.transport is Transport.SSH:
            return await self._server_by_ssh(remote)
        path = remote.url.path.rstrip("/")
        path = path if path.endswith(".git") else f"{path}.git"
        url = RepositoryUrl(remote.url.transport, f"{path}/info/lfs", remote.url.host, remote.url.port).text
        name, _, value = (commands.authorization_header(remote.token) if remote.token else "").partition(": ")
        return _Server(url, {name: value} if remote.token else {})

    async def _server_by_ssh(self, remote: Remote) -> _Server:
        """ssh servers tell by `git-lfs-authenticate` where their objects are."""
        port = ["-p", str(remote.url.port)] if remote.url.port else []
        target = f"{remote.url.user}@{remote.url.host}" if remote.url.user else remote.url.host
        path = remote.url.path.lstrip("/")
        if not re.fullmatch(r"[\w./~+-]+", path):
            raise SourceRefused(
                "Large files of a repository with such a path can't be fetched over ssh.", hint="Use its https URL."
            )
        command = [
            "ssh",
            "-F",
            str(self._home.ssh_config),
            *port,
            "--",
            target,
            f"git-lfs-authenticate {path} download",
        ]
        finished = await run_git(command, commands.git_environment(remote, self._home), self._home.directory)
        try:
            answer = cast("dict[str, Any]", json.loads(finished.output))
            return _Server(str(answer["href"]).rstrip("/"), _headers(answer))
        except (ValueError, KeyError, TypeError) as error:
            raise SourceUnreachable(f"{remote.url.text} does not say where its large files are.") from error

    async def _batch(self, client: httpx.AsyncClient, server: _Server, pointers: Sequence[_Pointer]) -> None:
        objects = [{"oid": pointer.digest, "size": pointer.size} for pointer in pointers]
        body = {"operation": "download", "transfers": ["basic"], "objects": objects, "hash_algo": "sha256"}
        # Unpacked: of what is packed nobody knows the size before it is in memory.
        headers = {**server.headers, "Accept": _TYPE, "Content-Type": _TYPE, "Accept-Encoding": "identity"}
        try:
            request = await self._request(client, "POST", f"{server.url}/objects/batch", headers, body)
            response = await client.send(request, stream=True)
            async with aclosing(response):
                response.raise_for_status()
                answers = {entry["oid"]: entry for entry in json.loads(await _listing(response))["objects"]}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise SourceUnreachable(f"The large files of the repository can't be listed: {_reason(error)}.") from error
        for pointer in pointers:
            await self._download(client, pointer, answers.get(pointer.digest, {}))

    async def _download(self, client: httpx.AsyncClient, pointer: _Pointer, answer: Mapping[str, Any]) -> None:
        action = _table(_table(answer.get("actions")).get("download"))
        if not action:
            why = _table(answer.get("error")).get("message", "the server does not have it")
            raise SourceUnreachable(f"The large file `{pointer.path.name}` can't be fetched: {why}.")
        partial = pointer.path.with_name(f".{pointer.digest}.partial")
        request = await self._request(client, "GET", str(action.get("href", "")), _headers(action))
        try:
            response = await client.send(request, stream=True)
            async with aclosing(response):
                response.raise_for_status()
                await _receive(response, partial, pointer)
        except httpx.HTTPError as error:
            raise SourceUnreachable(
                f"The large file `{pointer.path.name}` can't be fetched: {_reason(error)}."
            ) from error
        partial.chmod(pointer.path.stat().st_mode & 0o777)
        partial.replace(pointer.path)

    async def _request(
        self, client: httpx.AsyncClient, method: str, address: str, headers: Mapping[str, str], body: Any = None
    ) -> httpx.Request:
        """A request to an address that a server named: judged like a repository's, and sent where it was judged to be."""
        host = parse_url(address.partition("?")[0])
        if host.transport not in (Transport.HTTP, Transport.HTTPS):
            raise SourceRefused("The server of large files names an address that is not fetched from.")
        addresses = await allowed_addresses(host, self._options)
        url = httpx.URL(address)
        return client.build_request(
            method,
            url.copy_with(host=addresses[0]),
            headers={**headers, "Host": url.netloc.decode("ascii")},
            json=body,
            extensions={"sni_hostname": host.host},
        )


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _headers(answer: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in _table(answer.get("header")).items()}


def _read_pointer(path: Path) -> _Pointer | None:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_POINTER:
        return None
    match = _POINTER.fullmatch(path.read_bytes())
    return _Pointer(path, match[1].decode(), int(match[2])) if match else None


def _copy_local(repository: Path, pointers: Sequence[_Pointer]) -> None:
    store = repository / ".git" if (repository / ".git").is_dir() else repository
    for pointer in pointers:
        digest = pointer.digest
        source = store / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
        if source.is_symlink() or not source.is_file() or not source.resolve().is_relative_to(repository):
            raise SourceUnreachable(f"The large file `{pointer.path.name}` is not in the repository's store.")
        mode = pointer.path.stat().st_mode & 0o777
        shutil.copyfile(source, pointer.path)
        pointer.path.chmod(mode)


async def _listing(response: httpx.Response) -> bytes:
    """What a server says of objects, as it comes over the wire and within a bound: the server may be anybody's."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise SourceUnreachable("The large files of the repository can't be listed: the server's answer is packed.")
    kept = bytearray()
    async for chunk in response.aiter_raw():
        kept += chunk
        if len(kept) > _LARGEST_LISTING:
            raise SourceUnreachable(
                "The large files of the repository can't be listed: "
                f"the server's answer is larger than {_LARGEST_LISTING >> 20} MiB."
            )
    return bytes(kept)


async def _receive(response: httpx.Response, partial: Path, pointer: _Pointer) -> None:
    digest, size = hashlib.sha256(), 0
    with partial.open("xb") as file:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > pointer.size:
                break
            digest.update(chunk)
            file.write(chunk)
    if size != pointer.size or digest.hexdigest() != pointer.digest:
        raise SourceUnreachable(f"The large file `{pointer.path.name}` is not what the repository says it is.")


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answered {error.response.status_code}"
    return str(error).partition("\n")[0] or "the server did not answer"
