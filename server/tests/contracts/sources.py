"""What every `Sources` does. A subclass gives the fixtures `sources` and `repository`."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from trackside.rooms.builds.errors import ArchiveRefused, SourceRefused, SourceUnreachable
from trackside.rooms.builds.model import GitCredentials, GitSource
from trackside.rooms.builds.ports import Sources


class Repository(Protocol):
    """A repository the tests write to: `url` is what is fetched, `credentials` what it takes."""

    url: str
    credentials: GitCredentials

    def commit(self, files: Mapping[str, str], branch: str = "main") -> str: ...

    def tag(self, name: str, sha: str) -> None: ...


async def quiet(line: str) -> None:
    """A build log that nobody reads."""


def tree_of(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): path.read_text()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def an_archive(directory: Path, files: Mapping[str, str]) -> Path:
    path = directory / "upload.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


class SourcesContract:
    @pytest.fixture
    def into(self, tmp_path: Path) -> Path:
        directory = tmp_path / "into"
        directory.mkdir()
        return directory

    async def test_the_default_branch_is_fetched_when_nothing_is_named(
        self, sources: Sources, repository: Repository, into: Path
    ) -> None:
        sha = repository.commit({"a.txt": "one", "sub/b.txt": "two"})
        commit = await sources.fetch_git(GitSource(repository.url), repository.credentials, into, quiet)
        assert (commit.sha, commit.branch) == (sha, "main")
        assert tree_of(into) == {"a.txt": "one", "sub/b.txt": "two"}

    @pytest.mark.parametrize("length", [7, 12, 40])
    async def test_a_commit_is_fetched_by_its_hash_or_the_beginning_of_it(
        self, sources: Sources, repository: Repository, into: Path, length: int
    ) -> None:
        sha = repository.commit({"a.txt": "old"})
        repository.commit({"a.txt": "new"})
        commit = await sources.fetch_git(GitSource(repository.url, sha[:length]), repository.credentials, into, quiet)
        assert (commit.sha, tree_of(into)) == (sha, {"a.txt": "old"})

    async def test_a_branch_and_a_tag_are_fetched_by_name(
        self, sources: Sources, repository: Repository, tmp_path: Path
    ) -> None:
        tagged = repository.commit({"a.txt": "tagged"})
        repository.tag("v1.0", tagged)
        repository.commit({"a.txt": "main"})
        repository.commit({"a.txt": "feature"}, "feature/login")
        for reference, text in (("v1.0", "tagged"), ("feature/login", "feature")):
            into = tmp_path / text
            into.mkdir()
            await sources.fetch_git(GitSource(repository.url, reference), repository.credentials, into, quiet)
            assert tree_of(into) == {"a.txt": text}

    async def test_a_missing_reference_is_named(self, sources: Sources, repository: Repository, into: Path) -> None:
        repository.commit({"a.txt": "one"})
        with pytest.raises(SourceUnreachable, match="no-such-branch"):
            await sources.fetch_git(GitSource(repository.url, "no-such-branch"), repository.credentials, into, quiet)

    @pytest.mark.parametrize("directory", ["missing", "../outside", "a.txt", "sub/../../x"])
    async def test_a_directory_that_is_none_is_refused(
        self, sources: Sources, repository: Repository, into: Path, directory: str
    ) -> None:
        repository.commit({"a.txt": "one", "sub/b.txt": "two"})
        with pytest.raises(SourceRefused):
            await sources.fetch_git(GitSource(repository.url, directory=directory), repository.credentials, into, quiet)

    async def test_nothing_of_git_is_left_in_the_tree(
        self, sources: Sources, repository: Repository, into: Path
    ) -> None:
        repository.commit({"a.txt": "one"})
        await sources.fetch_git(GitSource(repository.url, directory="/"), repository.credentials, into, quiet)
        assert not (into / ".git").exists()

    @pytest.mark.parametrize(
        "url", ["ext::sh -c id", "file:///etc", "/etc", "ftp://example.org/x", "-oProxyCommand=id"]
    )
    async def test_a_url_of_another_kind_is_refused(self, sources: Sources, into: Path, url: str) -> None:
        with pytest.raises(SourceRefused):
            await sources.fetch_git(GitSource(url), GitCredentials(), into, quiet)

    async def test_an_upload_is_unpacked(self, sources: Sources, into: Path, tmp_path: Path) -> None:
        await sources.unpack(an_archive(tmp_path, {"a.txt": "one", "sub/b.txt": "two"}), into)
        assert tree_of(into) == {"a.txt": "one", "sub/b.txt": "two"}

    async def test_an_upload_that_escapes_is_refused(self, sources: Sources, into: Path, tmp_path: Path) -> None:
        with pytest.raises(ArchiveRefused, match="evil"):
            await sources.unpack(an_archive(tmp_path, {"../evil.txt": "x"}), into)
        assert not (tmp_path / "evil.txt").exists()
