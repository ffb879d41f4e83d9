"""One repository at one commit, laid out in a directory: fetch, check out, submodules, large files."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trackside.adapters.git import commands
from trackside.adapters.git.commands import Home, Remote
from trackside.adapters.git.hosts import allowed_addresses, allowed_repository, is_local
from trackside.adapters.git.lfs import LargeFiles
from trackside.adapters.git.options import GitOptions
from trackside.adapters.git.process import Finished, run_git
from trackside.adapters.git.references import Wanted, choose, read_listing
from trackside.adapters.git.urls import RepositoryUrl, Transport, check_reference, resolve_submodule
from trackside.rooms.builds.errors import SourceRefused, SourceUnreachable
from trackside.rooms.builds.model import Commit, GitCredentials
from trackside.rooms.builds.ports import BuildLog

_ANY_SCHEME = re.compile(r"(https?|ssh)://[^\s'\"]*@")


@dataclass
class _Budget:
    submodules: int


class Checkout:
    """One fetch: its options, credentials, private directory and log."""

    def __init__(self, options: GitOptions, credentials: GitCredentials, home: Home, log: BuildLog) -> None:
        self._options = options
        self._credentials = credentials
        self._home = home
        self._log = log
        self._budget = _Budget(options.submodules)
        self._large_files = LargeFiles(options, home, log)

    async def lay_out(self, url: RepositoryUrl, reference: str | None, into: Path) -> Commit:
        """The repository at `reference`, with everything that belongs to it, and no `.git`."""
        remote = await self._remote(url, url)
        listing = read_listing(await self._output(remote, commands.list_references(remote), self._home.directory))
        wanted = choose(listing, check_reference(reference) if reference else None)
        if wanted is None:
            raise SourceUnreachable(_no_such(url, reference))
        await self._log(f"Fetching {url.text} at {reference or wanted.branch or 'HEAD'}")
        await self._fetch(remote, wanted, into)
        commit = await self._commit(remote, into, wanted.branch)
        await self._complete(remote, url, into, self._options.submodule_depth)
        return commit

    async def _remote(self, url: RepositoryUrl, origin: RepositoryUrl) -> Remote:
        """A repository that may be reached. Credentials go with the host they were given for, no other."""
        if is_local(url):
            return Remote(replace(url, path=str(allowed_repository(url.path, self._options))))
        addresses = await allowed_addresses(url, self._options)
        is_same_host = (url.transport, url.host, url.port) == (origin.transport, origin.host, origin.port)
        if url.transport is Transport.HTTP and self._credentials.token and not self._options.allow_private:
            raise SourceRefused("An access token is not sent over plain http.", hint="Use the repository's https URL.")
        remote = Remote(
            url, addresses, self._credentials.token if is_same_host and url.transport is not Transport.SSH else None
        )
        if url.transport is Transport.SSH:
            self._prepare_ssh(remote, is_same_host)
        return remote

    def _prepare_ssh(self, remote: Remote, is_same_host: bool) -> None:
        credentials = self._credentials
        if not is_same_host or not credentials.private_key:
            raise SourceRefused(
                f"There is no deploy key for `{remote.url.host}`.", hint="Give the deploy key, or use an https URL."
            )
        if not credentials.known_host:
            raise SourceRefused(
                f"The host key of `{remote.url.host}` is not pinned.",
                hint="Give the host's line of known_hosts with the deploy key.",
            )
        key = credentials.private_key.replace("\r\n", "\n").rstrip("\n") + "\n"
        self._home.key.touch(mode=0o600)
        self._home.key.write_text(key)
        self._home.known_hosts.write_text(credentials.known_host.strip().replace("\n", " ") + "\n")
        self._home.ssh_config.write_text(commands.ssh_configuration(remote, self._home, remote.url.port))

    async def _fetch(self, remote: Remote, wanted: Wanted, into: Path) -> None:
        await self._output(remote, ["git", "init", "--quiet", "--template=", "--", str(into)], self._home.directory)
        if wanted.name is not None:
            finished = await self._run(remote, commands.fetch(remote, wanted.name, is_shallow=True), into)
            if finished.code == 0:
                return await self._check_out(remote, "FETCH_HEAD", into)
            if not re.fullmatch(r"[0-9a-f]{40,64}", wanted.name):
                raise SourceUnreachable(_explained(remote, finished))
        # Some servers give single commits only where a reference points to them: fetch all, then look.
        await self._output(remote, commands.fetch_everything(remote), into)
        commit = wanted.name or wanted.abbreviated or ""
        found = await self._run(
            remote, ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"], into
        )
        if found.code != 0:
            raise SourceUnreachable(_no_such(remote.url, commit))
        await self._check_out(remote, found.output.decode().strip(), into)

    async def _check_out(self, remote: Remote, commit: str, into: Path) -> None:
        await self._output(remote, ["git", "checkout", "--quiet", "--force", "--detach", commit, "--"], into)

    async def _commit(self, remote: Remote, into: Path, branch: str | None) -> Commit:
        output = await self._output(
            remote, ["git", "log", "-1", "--no-show-signature", "--format=%H%x00%an%x00%B"], into
        )
        # Old commits have names and messages in other encodings; what can't be read can't be kept either.
        readable = output.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        sha, author, message = readable.rstrip("\n").split("\0", 2)
        return Commit(sha, author, message.strip(), branch)

    async def _complete(self, remote: Remote, origin: RepositoryUrl, into: Path, depth: int) -> None:
        """Large files and submodules; then the repository's own data goes."""
        await self._large_files.fetch(remote, into)
        for path, url, commit in await self._submodules(remote, into):
            if depth == 0 or self._budget.submodules == 0:
                raise SourceRefused(f"The repository has too many submodules, or nests them too deeply (at `{path}`).")
            self._budget.submodules -= 1
            await self._submodule(resolve_submodule(remote.url, url), origin, (into, path, commit), depth - 1)
        shutil.rmtree(into / ".git")

    async def _submodule(
        self, url: RepositoryUrl, origin: RepositoryUrl, place: tuple[Path, str, str], depth: int
    ) -> None:
        root, path, commit = place
        target = root
        for part in Path(path).parts:
            target = target / part
            if target.is_symlink() or part in ("..", ".git"):
                raise SourceRefused(f"The submodule at `{path}` leads out of the repository.")
        target.mkdir(parents=True, exist_ok=True)
        await self._log(f"Fetching the submodule {path} from {url.text} at {commit[:12]}")
        remote = await self._remote(url, origin)
        await self._fetch(remote, Wanted(commit), target)
        await self._complete(remote, origin, target, depth)

    async def _submodules(self, remote: Remote, into: Path) -> Sequence[tuple[str, str, str]]:
        """(path, URL, commit) of each submodule that the commit really has."""
        modules = into / ".gitmodules"
        if modules.is_symlink() or not modules.is_file():
            return []
        listed = await self._output(remote, ["git", "config", "--file", ".gitmodules", "--null", "--list"], into)
        fields: dict[str, dict[str, str]] = {}
        for entry in listed.split("\0"):
            key, _, value = entry.partition("\n")
            if match := re.fullmatch(r"submodule\.(.+)\.(path|url)", key, re.DOTALL):
                fields.setdefault(match[1], {})[match[2]] = value
        urls = {entry["path"]: entry["url"] for entry in fields.values() if {"path", "url"} <= entry.keys()}
        tree = await self._output(remote, ["git", "ls-tree", "-r", "-z", "HEAD"], into)
        links = [line.partition("\t") for line in tree.split("\0") if line.startswith("160000 ")]
        missing = [path for _, _, path in links if path not in urls]
        if missing:
            raise SourceUnreachable(f"The submodule at `{missing[0]}` has no URL in .gitmodules.")
        return [(path, urls[path], head.split()[2]) for head, _, path in links]

    async def _run(self, remote: Remote, command: Sequence[str], directory: Path) -> Finished:
        return await run_git(command, commands.git_environment(remote, self._home), directory)

    async def _output(self, remote: Remote, command: Sequence[str], directory: Path) -> str:
        finished = await self._run(remote, command, directory)
        if finished.code != 0:
            raise SourceUnreachable(_explained(remote, finished))
        return finished.output.decode("utf-8", "surrogateescape")


def _no_such(url: RepositoryUrl, reference: str | None) -> str:
    return (
        f"{url.text} has no branch, tag or commit `{reference}`."
        if reference
        else f"{url.text} is an empty repository."
    )


_KNOWN = (
    ("fsck error", "its objects are malformed, or made to do harm"),
    ("Host key verification failed", "the host's key is not the pinned one"),
    ("Permission denied (publickey", "the deploy key is not accepted"),
    ("Authentication failed", "the access token is not accepted"),
    ("could not read Username", "it asks for an access token, or does not exist"),
    ("terminal prompts disabled", "it asks for an access token, or does not exist"),
    ("The requested URL returned error: 401", "the access token is not accepted"),
    ("The requested URL returned error: 403", "access is forbidden"),
    ("not found", "there is no such repository, or the credentials do not reach it"),
    (
        "unable to update url base from redirection",
        "it redirects elsewhere, which is not followed: use the URL it redirects to",
    ),
    (
        "The requested URL returned error: 30",
        "it redirects elsewhere, which is not followed: use the URL it redirects to",
    ),
    (
        "server certificate verification failed",
        "its certificate is not trusted (the setting `ca_bundle` names further authorities)",
    ),
    ("SSL certificate problem", "its certificate is not trusted (the setting `ca_bundle` names further authorities)"),
    ("Could not resolve host", "its host is not known"),
    ("Connection refused", "the connection was refused"),
    ("Connection timed out", "it did not answer in time"),
    ("Failed to connect", "no connection could be made"),
    ("No space left on device", "the disk of this machine is full"),
)


_KNOWN_WITH_TOKEN = (("could not read Username", "the access token is not accepted, or the repository does not exist"),)
"""What git says where a token was sent and refused: it would ask a person next."""


def _explained(remote: Remote, finished: Finished) -> str:
    """What failed, in a sentence; git's own last words where it is nothing we know. Never with credentials."""
    url = remote.url
    for words, meaning in (*(_KNOWN_WITH_TOKEN if remote.token else ()), *_KNOWN):
        if words in finished.complaint:
            return f"{url.text} can't be fetched: {meaning}."
    said = [line for line in finished.complaint.splitlines() if line.strip()]
    last = _ANY_SCHEME.sub(r"\1://", said[-1]) if said else f"git ended with code {finished.code}"
    return f"{url.text} can't be fetched: {last.removeprefix('fatal: ').rstrip('.')}."
