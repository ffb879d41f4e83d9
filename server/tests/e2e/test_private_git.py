"""Private repositories through the whole product: command line → REST → vault → git, with real servers that refuse the wrong.

What opens them is looked for everywhere afterwards: in what was printed, in every file of the platform, in every row.
"""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import zstandard
from psycopg import sql

from builds.git_servers import GitHttpServer, GitSshServer, WorkRepository
from e2e.authority import Authority
from e2e.conftest import APPS, Service, Trackside
from trackside.host.installation import DATABASE, SUPERUSER_ROLE
from trackside.host.layout import system_layout


@pytest.fixture
def repository(tmp_path: Path) -> WorkRepository:
    """The echo app in a bare repository."""
    made = WorkRepository(tmp_path / "repositories" / "app.git")
    commit(made, "from git")
    return made


def commit(repository: WorkRepository, version: str) -> None:
    """An app that answers with this."""
    text = (APPS / "echo" / "main.py").read_text()
    repository.commit({"main.py": text.replace('"VERSION", "1"', f'"VERSION", "{version}"')})


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[GitSshServer]:
    with GitSshServer(tmp_path / "ssh") as server:
        yield server


@pytest.fixture
def private(trackside: Trackside) -> Iterator[Service]:
    """A service without a source."""
    project = f"private-{uuid4().hex[:8]}"
    trackside.cli.run("project", "create", project)
    yield trackside.service(project, "app")
    trackside.cli.run("project", "delete", project, "--yes")


# --- looking everywhere ---


def spellings(*secrets: str) -> list[bytes]:
    """How a secret may be written: as it is, and as git sends a token."""
    headers = [base64.b64encode(f"x-access-token:{secret}".encode()) for secret in secrets]
    return [*(secret.encode() for secret in secrets), *headers]


def places(trackside: Trackside, *secrets: str) -> list[str]:
    """Every file of the platform and every row of its database that shows one of these."""
    wanted = spellings(*secrets)
    return [
        where for where, content in [*files_of(trackside), *rows_of(trackside)] if any(one in content for one in wanted)
    ]


def files_of(trackside: Trackside) -> Iterator[tuple[str, bytes]]:
    """The state directory, and the database's own files with its write-ahead log. Packed logs are unpacked."""
    for directory in (trackside.home, layout_of(trackside).postgres_data):
        for path in directory.rglob("*"):
            try:
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            except FileNotFoundError:
                continue  # gone meanwhile
            yield str(path), zstandard.ZstdDecompressor().decompress(content) if path.suffix == ".zst" else content


def rows_of(trackside: Trackside) -> Iterator[tuple[str, bytes]]:
    """Every table of every schema, as text: what the files may hold compressed."""
    layout = layout_of(trackside)
    address = f"host={layout.postgres_run} dbname={DATABASE} user={SUPERUSER_ROLE} passfile={layout.keys / 'pgpass'}"
    with psycopg.connect(address) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert len(tables) > 20
        for schema, table in tables:
            query = sql.SQL("SELECT string_agg(one::text, '\n') FROM {} one").format(sql.Identifier(schema, table))
            (text,) = connection.execute(query).fetchone() or (None,)
            yield f"{schema}.{table}", (text or "").encode()


def layout_of(trackside: Trackside):
    installation = json.loads((trackside.home / "settings.json").read_text())["installation"]
    return system_layout(installation, trackside.home)


def told(service: Service) -> str:
    """All that the API and the command line tell of a service."""
    texts = [json.dumps(service.cli.json("status", "--project", service.project)), json.dumps(service.deployments())]
    for deployment in service.deployments():
        texts.append(service.api.get(f"/v1/deployments/{deployment['id']}").text)
        texts.append(service.api.get(f"/v1/deployments/{deployment['id']}/events").text)
        texts.append(service.cli.run("logs", "--build", deployment["id"], *service.scope).stdout)
    texts.append(service.api.get(f"/v1/environments/{service.instance['environment_id']}/config").text)
    return "\n".join(texts)


def assert_kept_apart(
    trackside: Trackside, service: Service, said: list[subprocess.CompletedProcess[str]], *secrets: str
):
    """The secrets are nowhere; the repository's address, which is none, is found where a source is kept."""
    everything = told(service) + "".join(one.stdout + one.stderr for one in said)
    assert not [one for one in spellings(*secrets) if one.decode() in everything]
    assert places(trackside, *secrets) == []
    address = str(service.deployments()[-1]["source"]["url"])
    found = places(trackside, address)
    assert any(place.endswith(".deployments") for place in found), found
    assert any(place.startswith(str(layout_of(trackside).postgres_data)) for place in found)


# --- deploying ---


def deployed(service: Service, said: subprocess.CompletedProcess[str], version: str) -> None:
    assert said.returncode == 0, said.stdout + said.stderr
    assert json.loads(said.stdout)["status"] == "SUCCESS"
    assert service.get("/").text == version


def failed(service: Service, said: subprocess.CompletedProcess[str], *reason: str) -> None:
    """It ended as FAILED, with this in its reason, and what served before serves on."""
    assert said.returncode != 0
    outcome = json.loads(said.stdout)
    assert outcome["status"] == "FAILED", outcome
    for part in reason:
        assert part in outcome["reason"], outcome
    newest = service.deployments()[0]
    assert (newest["status"], newest["steps"][-1]["name"]) == ("FAILED", "SNAPSHOT_CODE")
    active = service.instance["active_deployment"]
    assert active is None or active["id"] != newest["id"]


def test_an_https_repository_is_deployed_with_a_token_that_shows_up_nowhere(
    trackside: Trackside, private: Service, repository: WorkRepository, authority: Authority
) -> None:
    token, wrong = f"ghx_{uuid4().hex}", f"ghx_{uuid4().hex}"
    with GitHttpServer(repository.directory.parent, token, tls=authority.tls) as server:
        source = ("--repo", f"{server.url}/app.git", "--token-stdin", "--json", *private.scope)
        first = private.cli.run("deploy", *source, stdin=token.encode())
        deployed(private, first, "from git")
        assert server.url.startswith("https://")
        assert {authorization for _, authorization in server.requests} - {None}
        # What was kept is used again: for the branch's newest commit, and for the same source once more.
        commit(repository, "newer")
        again = private.cli.run("deploy", "--json", *private.scope)
        deployed(private, again, "newer")
        repeated = private.cli.run("redeploy", "--json", *private.scope)
        deployed(private, repeated, "newer")
        refused = private.cli.run("deploy", *source, stdin=wrong.encode(), ok=False)
        failed(private, refused, "the access token is not accepted", server.url)
        without = private.cli.run("deploy", "--repo", f"{server.url}/app.git", "--json", *private.scope, ok=False)
        failed(private, without, "it asks for an access token")
    assert private.get("/").text == "newer"
    assert_kept_apart(trackside, private, [first, again, repeated, refused, without], token, wrong)


@pytest.mark.slow
def test_an_ssh_repository_is_deployed_with_a_deploy_key_that_shows_up_nowhere(
    trackside: Trackside, private: Service, repository: WorkRepository, ssh: GitSshServer
) -> None:
    def source(key: str, host: str = "host") -> tuple[str, ...]:
        pinned = str(ssh.credentials(host_key=host).known_host)
        named = ("--repo", ssh.url(repository.directory), "--key-file", str(ssh.directory / key))
        return (*named, "--known-host", pinned, "--json", *private.scope)

    first = private.cli.run("deploy", *source("client"))
    deployed(private, first, "from git")
    commit(repository, "newer")
    again = private.cli.run("deploy", "--json", *private.scope)
    deployed(private, again, "newer")
    other_key = private.cli.run("deploy", *source("other"), ok=False)
    failed(private, other_key, "the deploy key is not accepted")
    other_host = private.cli.run("deploy", *source("client", "other"), ok=False)
    failed(private, other_host, "the host's key is not the pinned one")
    assert private.get("/").text == "newer"
    said = [first, again, other_key, other_host]
    assert_kept_apart(
        trackside, private, said, *key_lines(ssh.directory / "client"), *key_lines(ssh.directory / "other")
    )


def key_lines(key: Path) -> list[str]:
    """The lines of a private key that are its own: the first one tells the format only."""
    return key.read_text().splitlines()[2:-1]


@pytest.mark.slow
def test_a_server_whose_authority_is_not_trusted_is_refused_before_it_is_shown_the_token(
    trackside: Trackside, private: Service, repository: WorkRepository, tmp_path: Path
) -> None:
    stranger = Authority.make(tmp_path)
    token = f"ghx_{uuid4().hex}"
    with GitHttpServer(repository.directory.parent, token, tls=stranger.tls) as server:
        source = ("--repo", f"{server.url}/app.git", "--token-stdin", "--json", *private.scope)
        refused = private.cli.run("deploy", *source, stdin=token.encode(), ok=False)
        failed(private, refused, "its certificate is not trusted")
        assert server.requests == []
    assert_kept_apart(trackside, private, [refused], token)
