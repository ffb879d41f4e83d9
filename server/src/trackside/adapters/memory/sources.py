"""Sources in memory: the port `Sources`. Repositories are dictionaries; uploads are unpacked as they really are."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from trackside.adapters.archives.limits import ArchiveLimits
from trackside.adapters.archives.unpack import unpack_apart
from trackside.rooms.builds.errors import SourceRefused, SourceUnreachable
from trackside.rooms.builds.model import Commit, GitCredentials, GitSource
from trackside.rooms.builds.ports import BuildLog


@dataclass
class MemoryRepository:
    """Commits by their hash, branches and tags by name; `token` is what it asks for, if anything."""

    token: str | None = None
    commits: dict[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    references: dict[str, str] = field(default_factory=dict[str, str])

    def commit(self, files: Mapping[str, str], branch: str = "main") -> str:
        """Add a commit with exactly these files at the tip of a branch; its hash."""
        sha = hashlib.sha1(json.dumps([dict(files), len(self.commits)]).encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = dict(files)
        self.references[branch] = sha
        return sha

    def tag(self, name: str, sha: str) -> None:
        self.references[name] = sha

    def find(self, reference: str | None) -> str | None:
        """The commit that a branch, tag, commit or beginning of one means."""
        if reference is None:
            return self.references.get("main")
        if reference in self.references:
            return self.references[reference]
        matches = [sha for sha in self.commits if len(reference) >= 7 and sha.startswith(reference)]
        return matches[0] if len(matches) == 1 else None


class MemorySources:
    """`repositories` is the world: URL → repository."""

    def __init__(self, limits: ArchiveLimits | None = None) -> None:
        self.repositories: dict[str, MemoryRepository] = {}
        self._limits = limits or ArchiveLimits()

    async def fetch_git(self, source: GitSource, credentials: GitCredentials, into: Path, log: BuildLog) -> Commit:
        repository = self.repositories.get(source.url)
        if repository is None:
            is_allowed = source.url.startswith(("https://", "http://", "ssh://"))
            problem = SourceUnreachable if is_allowed else SourceRefused
            raise problem(f"{source.url} can't be fetched.")
        if repository.token is not None and credentials.token != repository.token:
            raise SourceUnreachable(f"{source.url} can't be fetched: the access token is not accepted.")
        sha = repository.find(source.reference)
        if sha is None:
            raise SourceUnreachable(f"{source.url} has no branch, tag or commit `{source.reference}`.")
        await log(f"Fetching {source.url}")
        for path, text in repository.commits[sha].items():
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            (into / path).write_text(text)
        if ".." in PurePosixPath(source.directory).parts or not (into / source.directory.strip("/")).is_dir():
            raise SourceRefused(f"The repository has no directory `{source.directory}`.")
        branch = source.reference or "main"
        return Commit(sha, "", "", branch if branch in repository.references else None)

    async def unpack(self, archive: Path, into: Path) -> None:
        await unpack_apart(archive, into, self._limits)
