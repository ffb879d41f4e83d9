"""Git repositories and real servers of them on loopback: HTTP with a token (git http-backend), and ssh with a deploy key."""

import base64
import getpass
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from trackside.rooms.builds.model import GitCredentials

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin:/usr/lib/git-core",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


def git(directory: Path, *arguments: str) -> str:
    settings = ("-c", "safe.directory=*", "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main")
    finished = subprocess.run(
        ["git", *settings, *arguments], cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


@dataclass
class WorkRepository:
    """A bare repository `directory` with a work tree beside it, from which the tests commit."""

    directory: Path
    url: str = ""
    credentials: GitCredentials = field(default_factory=GitCredentials)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        git(self.directory, "init", "--bare", "--quiet")
        self.work = self.directory.with_suffix(".work")
        git(self.directory.parent, "clone", "--quiet", str(self.directory), str(self.work))
        self.url = self.url or f"file://{self.directory}"

    def commit(self, files: Mapping[str, str], branch: str = "main") -> str:
        """A commit with exactly these files at the tip of a branch."""
        self.clear()
        for name, text in files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_text(text)
        return self.commit_tree(branch)

    def clear(self) -> None:
        for path in self.work.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def commit_tree(self, branch: str = "main") -> str:
        git(self.work, "add", "--all", "--force")
        git(self.work, "commit", "--quiet", "--allow-empty", "-m", "A change\n\nwith a body")
        git(self.work, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
        return git(self.work, "rev-parse", "HEAD")

    def tag(self, name: str, sha: str) -> None:
        git(self.work, "tag", "-a", name, sha, "-m", name)
        git(self.work, "push", "--quiet", "origin", name)


Answer = Callable[["_Handler"], bool]


@dataclass
class GitHttpServer:
    """Serves every repository below `root`; asks for `token` where one is set. `answer` may handle a request itself.

    With `tls` it speaks https only.
    """

    root: Path
    token: str | None = None
    answer: Answer | None = None
    tls: ssl.SSLContext | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def __enter__(self) -> "GitHttpServer":
        server = self

        class Handler(_Handler):
            owner = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    owner: GitHttpServer

    def log_message(self, format: str, *arguments: object) -> None:
        return

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _serve(self) -> None:
        self.owner.requests.append((self.path, self.headers.get("Authorization")))
        self.body = self._read_body()
        if self.owner.answer and self.owner.answer(self):
            return
        if self.owner.token is not None:
            expected = base64.b64encode(f"x-access-token:{self.owner.token}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {expected}":
                return self.reply(401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        self._backend()

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _backend(self) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            **ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.owner.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        finished = subprocess.run(
            ["git", "http-backend"], env=environment, input=self.body, capture_output=True, check=False
        )
        head, _, body = finished.stdout.partition(b"\r\n\r\n")
        headers = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n") if line)
        self.reply(int(headers.pop("Status", "200").split()[0]), body, headers)


@dataclass
class GitSshServer:
    """`sshd` on loopback that accepts one key and serves repositories."""

    directory: Path
    process: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> "GitSshServer":
        self.directory.mkdir()
        for name in ("host", "client", "other"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / name)], check=True
            )
        shutil.copy(self.directory / "client.pub", self.directory / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.directory / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.directory}/host\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {self.directory}/authorized\nPasswordAuthentication no\nUsePAM no\n"
            "PermitRootLogin prohibit-password\nAllowTcpForwarding no\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", str(self.directory / "sshd_config")], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert time.monotonic() < deadline, "sshd does not start"
                time.sleep(0.05)

    def __exit__(self, *error: object) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)

    def url(self, repository: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository}"

    def credentials(self, key: str = "client", host_key: str = "host") -> GitCredentials:
        public = (self.directory / f"{host_key}.pub").read_text().split()
        return GitCredentials(
            private_key=(self.directory / key).read_text(),
            known_host=f"[127.0.0.1]:{self.port} {public[0]} {public[1]}",
        )


def processes_with(text: str) -> list[int]:
    """Ids of processes whose arguments or environment hold `text`."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
