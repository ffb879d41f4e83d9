"""Options of the proxy: plain values that bootstrap hands down."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What a client may take. Times in seconds, sizes in bytes."""

    header_bytes: int = 32 << 10
    headers: int = 101
    header_seconds: float = 10.0  # for a client to send all its request headers
    idle_seconds: float = 30.0  # between requests on a kept connection
    client_seconds: float = 60.0  # of silence while a client sends a body or takes an answer
    connect_seconds: float = 2.0
    server_seconds: float = 900.0  # of silence while an app works on an answer, or between events of a stream
    tunnel_seconds: float = 3600.0  # of silence on a WebSocket
    resent_rate: int = 5000  # requests per second up to which one is sent again that an app gave no answer to
    hops: int = 10  # times one request may pass this edge
    logged_backlog: int = 500_000  # access lines kept while nobody reads them; later ones are dropped and counted


@dataclass(frozen=True)
class HAProxyOptions:
    """Where HAProxy listens and lives.

    `directory` holds configuration, maps and pages, `run_directory` sockets and the access log: short (a socket's path
    has at most 107 bytes), best on a memory file system, so that no disk can slow requests down.
    """

    directory: Path
    run_directory: Path
    host: str = "0.0.0.0"  # apps are meant to be reached from other computers
    port: int = 7780
    slots: int = 500
    connections: int = 8000
    threads: int = 1
    """HAProxy drops an access line when two threads write at the same moment (0.1 % of lines at 7,000 requests/s)."""
    user: str = ""  # dropped to after binding, with a group of the same name, in an empty root; empty: stay
    limits: Limits = Limits()
    program: str = "/usr/sbin/haproxy"

    @property
    def config_file(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def snapshot(self) -> Path:
        """What is served, whole: from this the other files are made."""
        return self.directory / "served.json"

    @property
    def maps(self) -> Path:
        return self.directory / "maps"

    @property
    def pages(self) -> Path:
        return self.directory / "pages"

    @property
    def slots_file(self) -> Path:
        """Remembers how far the slots have grown."""
        return self.directory / "slots"

    @property
    def opened(self) -> Path:
        """Is there once clients are let in. It goes when the machine goes down, like all in this directory."""
        return self.run_directory / "opened"

    @property
    def closed_socket(self) -> Path:
        """Where HAProxy listens until then, for it must listen somewhere."""
        return self.run_directory / "closed.sock"

    @property
    def runtime_socket(self) -> Path:
        return self.run_directory / "runtime.sock"

    @property
    def master_socket(self) -> Path:
        return self.run_directory / "master.sock"

    @property
    def access_log(self) -> Path:
        return self.run_directory / "access.log"
