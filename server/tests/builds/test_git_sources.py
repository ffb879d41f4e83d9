"""Git over files, HTTP with a token, and ssh with a pinned host: the contract of `Sources`, and what hostile repositories try."""

import asyncio
import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from builds.git_servers import GitHttpServer, GitSshServer, WorkRepository, _Handler, git, processes_with
from contracts.sources import SourcesContract, quiet, tree_of
from trackside.adapters.archives.limits import ArchiveLimits
from trackside.adapters.git.options import GitOptions
from trackside.adapters.git.process import run_git
from trackside.adapters.git.sources import GitSources
from trackside.rooms.builds.errors import SourceRefused, SourceUnreachable
from trackside.rooms.builds.model import GitCredentials, GitSource

TOKEN = "token-0123456789"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "repositories"
    directory.mkdir()
    return directory


@pytest.fixture
def options(tmp_path: Path, root: Path) -> GitOptions:
    return GitOptions(tmp_path / "fetches", file_roots=(root,), allow_private=True, seconds=60)


@pytest.fixture
def sources(options: GitOptions) -> GitSources:
    return GitSources(options, ArchiveLimits())


@pytest.fixture
def repository(root: Path) -> WorkRepository:
    return WorkRepository(root / "app.git")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    directory = tmp_path / "into"
    directory.mkdir()
    return directory


@pytest.fixture
def http(root: Path) -> Iterator[GitHttpServer]:
    with GitHttpServer(root, TOKEN) as server:
        yield server


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[GitSshServer]:
    if not Path("/usr/sbin/sshd").exists():
        pytest.fail("the tests need an ssh server: apt-get install openssh-server")
    with GitSshServer(tmp_path / "ssh") as server:
        yield server


class TestFiles(SourcesContract):
    pass


class TestHttp(SourcesContract):
    @pytest.fixture
    def repository(self, root: Path, http: GitHttpServer) -> WorkRepository:
        return WorkRepository(root / "app.git", f"{http.url}/app.git", GitCredentials(token=TOKEN))


class TestSsh(SourcesContract):
    @pytest.fixture
    def repository(self, root: Path, ssh: GitSshServer) -> WorkRepository:
        return WorkRepository(root / "app.git", ssh.url(root / "app.git"), ssh.credentials())


async def test_the_commit_is_told_with_author_and_message(
    sources: GitSources, repository: WorkRepository, into: Path
) -> None:
    repository.commit({"a.txt": "x"})
    commit = await sources.fetch_git(GitSource(repository.url), GitCredentials(), into, quiet)
    assert (commit.author, commit.message) == ("Ada", "A change\n\nwith a body")


async def test_a_message_in_another_encoding_can_be_kept(
    sources: GitSources, repository: WorkRepository, into: Path, tmp_path: Path
) -> None:
    repository.commit({"a.txt": "x"})
    (tmp_path / "message").write_bytes("café".encode("latin-1"))
    git(repository.work, "commit", "--quiet", "--allow-empty", "-F", str(tmp_path / "message"))
    git(repository.work, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    commit = await sources.fetch_git(GitSource(repository.url), GitCredentials(), into, quiet)
    assert commit.message.encode().startswith(b"caf")


async def test_a_commit_that_no_branch_points_to_is_fetched(
    sources: GitSources, root: Path, into: Path, http: GitHttpServer
) -> None:
    repository = WorkRepository(root / "app.git", f"{http.url}/app.git", GitCredentials(token=TOKEN))
    git(repository.directory, "config", "uploadpack.allowAnySHA1InWant", "false")
    first = repository.commit({"a.txt": "first"})
    for number in range(5):
        repository.commit({"a.txt": str(number)})
    await sources.fetch_git(GitSource(repository.url, first[:9]), repository.credentials, into, quiet)
    assert tree_of(into) == {"a.txt": "first"}


@pytest.mark.parametrize("token", [None, "wrong-token-0123"])
async def test_a_wrong_token_is_named_and_never_shown(
    sources: GitSources, root: Path, http: GitHttpServer, into: Path, token: str | None
) -> None:
    repository = WorkRepository(root / "app.git", f"{http.url}/app.git")
    repository.commit({"a.txt": "x"})
    with pytest.raises(SourceUnreachable, match="access token") as caught:
        await sources.fetch_git(GitSource(repository.url), GitCredentials(token=token), into, quiet)
    assert "wrong-token" not in caught.value.sentence + caught.value.hint


async def test_the_token_is_in_no_argument(sources: GitSources, root: Path, http: GitHttpServer, into: Path) -> None:
    repository = WorkRepository(root / "app.git", f"{http.url}/app.git", GitCredentials(token=TOKEN))
    repository.commit({"a.txt": "x"})
    seen: list[int] = []

    def look(request: _Handler) -> bool:
        seen.extend(processes_with(TOKEN))
        return False

    http.answer = look
    await sources.fetch_git(GitSource(repository.url), repository.credentials, into, quiet)
    assert http.requests
    assert seen == []


async def test_a_redirect_is_not_followed(sources: GitSources, root: Path, http: GitHttpServer, into: Path) -> None:
    WorkRepository(root / "app.git").commit({"a.txt": "x"})
    with GitHttpServer(root) as elsewhere:

        def redirect(request: _Handler) -> bool:
            request.reply(302, headers={"Location": f"{elsewhere.url}{request.path}"})
            return True

        http.answer = redirect
        with pytest.raises(SourceUnreachable):
            await sources.fetch_git(GitSource(f"{http.url}/app.git"), GitCredentials(token=TOKEN), into, quiet)
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]"]
)
async def test_private_addresses_are_refused_unless_allowed(options: GitOptions, into: Path, host: str) -> None:
    sources = GitSources(replace(options, allow_private=False))
    for url in (f"https://{host}/app.git", f"ssh://git@{host}/app.git", f"http://{host}:8080/app.git"):
        with pytest.raises(SourceRefused, match="private network"):
            await sources.fetch_git(GitSource(url), GitCredentials(private_key="x", known_host="y"), into, quiet)


async def test_an_unknown_host_is_named(sources: GitSources, into: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"no-such-host\.invalid"):
        await sources.fetch_git(GitSource("https://no-such-host.invalid/x.git"), GitCredentials(), into, quiet)


async def test_a_host_key_that_is_not_the_pinned_one_is_refused(
    sources: GitSources, root: Path, ssh: GitSshServer, into: Path
) -> None:
    WorkRepository(root / "app.git").commit({"a.txt": "x"})
    url = ssh.url(root / "app.git")
    with pytest.raises(SourceUnreachable, match="pinned"):
        await sources.fetch_git(GitSource(url), ssh.credentials(host_key="other"), into, quiet)
    with pytest.raises(SourceUnreachable, match="deploy key is not accepted"):
        await sources.fetch_git(GitSource(url), ssh.credentials(key="other"), into, quiet)
    with pytest.raises(SourceRefused, match="not pinned"):
        await sources.fetch_git(GitSource(url), replace(ssh.credentials(), known_host=None), into, quiet)


async def test_no_key_is_left_behind(
    sources: GitSources, options: GitOptions, root: Path, ssh: GitSshServer, into: Path
) -> None:
    WorkRepository(root / "app.git").commit({"a.txt": "x"})
    await sources.fetch_git(GitSource(ssh.url(root / "app.git")), ssh.credentials(), into, quiet)
    assert list(options.directory.iterdir()) == []


async def test_the_platforms_own_state_is_refused_though_it_lies_below_an_allowed_root(
    options: GitOptions, root: Path, into: Path
) -> None:
    """Other people's sources lie there while they are built."""
    other = WorkRepository(root / "state" / "builds" / "other.git")
    other.commit({"a.txt": "x"})
    closed = GitSources(replace(options, closed=(root / "state",)))
    with pytest.raises(SourceRefused):
        await closed.fetch_git(GitSource(other.url), GitCredentials(), into, quiet)


@pytest.mark.parametrize("place", ["outside", "link", "borrowed", "worktree"])
async def test_repositories_outside_of_the_allowed_roots_are_refused(
    sources: GitSources, root: Path, tmp_path: Path, into: Path, place: str
) -> None:
    outside = WorkRepository(tmp_path / "outside.git")
    outside.commit({"a.txt": "x"})
    target = root / "target"
    match place:
        case "outside":
            target = outside.directory
        case "link":
            target.symlink_to(outside.directory)
        case "borrowed":
            git(root, "clone", "--quiet", "--shared", "--bare", str(outside.directory), str(target))
        case _:
            git(outside.work, "worktree", "add", "--quiet", "--detach", str(target))
    with pytest.raises(SourceRefused):
        await sources.fetch_git(GitSource(f"file://{target}"), GitCredentials(), into, quiet)


async def test_submodules_come_along_with_their_own(sources: GitSources, root: Path, into: Path) -> None:
    inner, middle, outer = (WorkRepository(root / f"{name}.git") for name in ("inner", "middle", "outer"))
    inner.commit({"i.txt": "inner"})
    git(middle.work, "submodule", "add", "--quiet", "../inner.git", "deep/inner")
    middle.commit_tree()
    git(outer.work, "submodule", "add", "--quiet", str(middle.directory), "lib middle")
    outer.commit_tree()
    await sources.fetch_git(GitSource(outer.url), GitCredentials(), into, quiet)
    assert (into / "lib middle/deep/inner/i.txt").read_text() == "inner"
    assert not list(into.rglob(".git"))


@pytest.mark.parametrize(
    "url", ["ext::sh -c 'touch /tmp/pwned'", "/etc", "http://169.254.169.254/x", "-u./evil", "file:///etc"]
)
async def test_a_submodule_with_a_hostile_url_is_refused(options: GitOptions, root: Path, into: Path, url: str) -> None:
    inner, outer = WorkRepository(root / "inner.git"), WorkRepository(root / "outer.git")
    inner.commit({"i.txt": "inner"})
    git(outer.work, "submodule", "add", "--quiet", str(inner.directory), "inner")
    (outer.work / ".gitmodules").write_text(f'[submodule "inner"]\n\tpath = inner\n\turl = {json.dumps(url)}\n')
    outer.commit_tree()
    sources = GitSources(replace(options, allow_private=False))
    # Git's own check of objects refuses some of these before we do.
    with pytest.raises((SourceRefused, SourceUnreachable)):
        await sources.fetch_git(GitSource(outer.url), GitCredentials(), into, quiet)


async def test_the_token_is_not_shown_to_another_host(
    sources: GitSources, root: Path, http: GitHttpServer, into: Path
) -> None:
    inner, outer = WorkRepository(root / "inner.git"), WorkRepository(root / "outer.git")
    inner.commit({"i.txt": "inner"})
    with GitHttpServer(root) as elsewhere:
        git(outer.work, "submodule", "add", "--quiet", str(inner.directory), "inner")
        (outer.work / ".gitmodules").write_text(
            f'[submodule "inner"]\n\tpath = inner\n\turl = {elsewhere.url}/inner.git\n'
        )
        outer.commit_tree()
        await sources.fetch_git(GitSource(f"{http.url}/outer.git"), GitCredentials(token=TOKEN), into, quiet)
        assert elsewhere.requests
        assert all(authorization is None for _, authorization in elsewhere.requests)
    assert (into / "inner/i.txt").exists()


async def test_a_directory_that_is_a_link_out_of_the_tree_is_refused(
    sources: GitSources, repository: WorkRepository, into: Path
) -> None:
    (repository.work / "away").symlink_to("/etc")
    repository.commit_tree()
    with pytest.raises(SourceRefused):
        await sources.fetch_git(GitSource(repository.url, directory="away"), GitCredentials(), into, quiet)


async def test_configuration_and_hooks_of_a_repository_run_nothing(
    sources: GitSources, repository: WorkRepository, tmp_path: Path, into: Path
) -> None:
    mark = tmp_path / "ran"
    for hook in ("post-checkout", "pre-receive", "post-upload-pack", "reference-transaction"):
        (repository.directory / "hooks").mkdir(exist_ok=True)
        path = repository.directory / "hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {mark}\n")
    (repository.work / ".gitattributes").write_text("* filter=evil\n")
    (repository.work / "a.txt").write_text("x")
    repository.commit_tree()
    for hook in (repository.directory / "hooks").iterdir():
        hook.chmod(0o755)
    git(repository.directory, "config", "filter.evil.smudge", f"touch {mark}")
    git(repository.directory, "config", "core.fsmonitor", f"touch {mark}")
    git(repository.directory, "config", "uploadpack.packObjectsHook", f"touch {mark}; false")
    await sources.fetch_git(GitSource(repository.url), GitCredentials(), into, quiet)
    assert not mark.exists()


async def test_a_repository_that_is_too_large_is_refused(options: GitOptions, root: Path, into: Path) -> None:
    repository = WorkRepository(root / "app.git")
    (repository.work / "zeros").write_bytes(bytes(20 << 20))
    repository.commit_tree()
    with pytest.raises(SourceRefused, match="larger than"):
        await GitSources(replace(options, bytes=4 << 20)).fetch_git(
            GitSource(repository.url), GitCredentials(), into, quiet
        )


async def test_a_server_that_says_nothing_is_given_up(options: GitOptions, root: Path, into: Path) -> None:
    """And nothing of git goes on after that."""

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/silent-{port}.git"
    with pytest.raises(SourceUnreachable, match="within 1 s"):
        await GitSources(replace(options, seconds=1)).fetch_git(GitSource(url), GitCredentials(), into, quiet)
    server.close()
    async with asyncio.timeout(10):
        while processes_with(f"silent-{port}.git"):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("surplus", "is_taken"), [(0, True), (1, False)])
async def test_output_that_is_not_kept_whole_is_refused(tmp_path: Path, surplus: int, is_taken: bool) -> None:
    """Half a list of files or branches would be taken for the whole."""
    size = (64 << 20) + surplus
    running = run_git(["head", "-c", str(size), "/dev/zero"], {"PATH": "/usr/bin:/bin"}, tmp_path)
    if is_taken:
        assert len((await running).output) == size
    else:
        with pytest.raises(SourceUnreachable, match="more than 64 MiB"):
            await running


async def test_a_long_complaint_is_cut_and_refuses_nothing(tmp_path: Path) -> None:
    long = ["python3", "-c", "import sys; sys.stderr.write('x' * 100_000)"]
    assert len((await run_git(long, {"PATH": "/usr/bin:/bin"}, tmp_path)).complaint) == 64 << 10


class TestLargeFiles:
    CONTENT = b"a large file\n" * 1000

    @pytest.fixture
    def digest(self) -> str:
        return hashlib.sha256(self.CONTENT).hexdigest()

    @pytest.fixture
    def pointed(self, repository: WorkRepository, digest: str) -> WorkRepository:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(self.CONTENT)}\n"
        repository.commit(
            {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "model.bin": pointer, "p.txt": pointer}
        )
        return repository

    def serve(self, digest: str, content: bytes, href: str | None = None):
        def answer(request: _Handler) -> bool:
            if request.path.endswith("/info/lfs/objects/batch"):
                where = href or f"http://{request.headers['Host']}/storage/{digest}"
                objects = [{"oid": digest, "size": len(content), "actions": {"download": {"href": where}}}]
                request.reply(200, json.dumps({"objects": objects}).encode(), {"Content-Type": "application/json"})
                return True
            if request.path.startswith("/storage/"):
                request.reply(200, content)
                return True
            return False

        return answer

    async def test_they_are_fetched_over_http(
        self, sources: GitSources, pointed: WorkRepository, http: GitHttpServer, into: Path, digest: str
    ) -> None:
        http.answer = self.serve(digest, self.CONTENT)
        await sources.fetch_git(GitSource(f"{http.url}/app.git"), GitCredentials(token=TOKEN), into, quiet)
        assert (into / "model.bin").read_bytes() == self.CONTENT
        assert (into / "p.txt").read_text().startswith("version ")

    async def test_they_are_copied_from_a_repository_on_this_machine(
        self, sources: GitSources, pointed: WorkRepository, into: Path, digest: str
    ) -> None:
        store = pointed.directory / "lfs/objects" / digest[:2] / digest[2:4]
        store.mkdir(parents=True)
        (store / digest).write_bytes(self.CONTENT)
        await sources.fetch_git(GitSource(pointed.url), GitCredentials(), into, quiet)
        assert (into / "model.bin").read_bytes() == self.CONTENT

    async def test_one_that_is_not_what_it_should_be_is_refused(
        self, sources: GitSources, pointed: WorkRepository, http: GitHttpServer, into: Path, digest: str
    ) -> None:
        http.answer = self.serve(digest, self.CONTENT[:-1] + b"!")
        with pytest.raises(SourceUnreachable, match=r"model\.bin"):
            await sources.fetch_git(GitSource(f"{http.url}/app.git"), GitCredentials(token=TOKEN), into, quiet)

    @pytest.mark.parametrize("href", ["file:///etc/passwd", "ssh://x@y/z", "gopher://127.0.0.1/"])
    async def test_a_server_can_not_lead_to_something_else(
        self, sources: GitSources, pointed: WorkRepository, http: GitHttpServer, into: Path, digest: str, href: str
    ) -> None:
        http.answer = self.serve(digest, self.CONTENT, href)
        with pytest.raises(SourceRefused):
            await sources.fetch_git(GitSource(f"{http.url}/app.git"), GitCredentials(token=TOKEN), into, quiet)

    @pytest.mark.parametrize(
        ("listing", "headers", "problem"),
        [
            (b" " * (17 << 20), {}, "larger than 16 MiB"),
            (gzip.compress(b" " * (17 << 20)), {"Content-Encoding": "gzip"}, "is packed"),
        ],
        ids=["long", "packed"],
    )
    async def test_a_listing_that_would_fill_the_memory_is_refused(
        self,
        sources: GitSources,
        pointed: WorkRepository,
        http: GitHttpServer,
        into: Path,
        listing: bytes,
        headers: dict[str, str],
        problem: str,
    ) -> None:
        asked: list[str | None] = []

        def answer(request: _Handler) -> bool:
            if not request.path.endswith("/info/lfs/objects/batch"):
                return False
            asked.append(request.headers["Accept-Encoding"])
            with suppress(BrokenPipeError, ConnectionResetError):
                request.reply(200, listing, headers)
            return True

        http.answer = answer
        with pytest.raises(SourceUnreachable, match=problem):
            await sources.fetch_git(GitSource(f"{http.url}/app.git"), GitCredentials(token=TOKEN), into, quiet)
        assert asked == ["identity"]

    async def test_one_that_nobody_has_is_named(self, sources: GitSources, pointed: WorkRepository, into: Path) -> None:
        shutil.rmtree(pointed.directory / "lfs", ignore_errors=True)
        with pytest.raises(SourceUnreachable, match=r"model\.bin"):
            await sources.fetch_git(GitSource(pointed.url), GitCredentials(), into, quiet)

    @pytest.mark.parametrize(("spare", "is_allowed"), [(0, True), (-1, False)])
    async def test_a_repository_and_its_submodules_share_one_limit(
        self,
        options: GitOptions,
        pointed: WorkRepository,
        root: Path,
        into: Path,
        digest: str,
        spare: int,
        is_allowed: bool,
    ) -> None:
        inner = WorkRepository(root / "inner.git")
        inner.commit({name: (pointed.work / name).read_text() for name in (".gitattributes", "model.bin")})
        for repository in (pointed, inner):
            store = repository.directory / "lfs/objects" / digest[:2] / digest[2:4]
            store.mkdir(parents=True)
            (store / digest).write_bytes(self.CONTENT)
        git(pointed.work, "submodule", "add", "--quiet", str(inner.directory), "inner")
        pointed.commit_tree()
        sources = GitSources(replace(options, lfs_bytes=2 * len(self.CONTENT) + spare))
        fetching = sources.fetch_git(GitSource(pointed.url), GitCredentials(), into, quiet)
        if is_allowed:
            await fetching
            assert [(into / name).read_bytes() for name in ("model.bin", "inner/model.bin")] == [self.CONTENT] * 2
        else:
            with pytest.raises(SourceRefused, match="and its submodules"):
                await fetching
