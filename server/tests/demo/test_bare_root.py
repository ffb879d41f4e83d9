"""`make demo` on a Debian that has Python, git and make, and nothing else: no pip, no venv, no engine, no certificates."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from e2e.conftest import CHECKOUT, free_port

COLD_SECONDS = 300
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
MOUNTS = (("proc", "proc", "proc"), ("tmpfs", "run", "tmpfs"), ("tmpfs", "tmp", "tmpfs"))


@dataclass
class BareRoot:
    """A root directory of its own, in a mount namespace of its own: what is mounted in it is gone with its holder."""

    path: Path
    holder: subprocess.Popen[bytes]
    environment: dict[str, str]

    def run(self, *command: str, directory: str = "/") -> str:
        """Run a program inside; what it said."""
        inside = ("nsenter", f"--target={self.holder.pid}", "--mount", "chroot", str(self.path))
        outcome = subprocess.run(
            (*inside, "env", "--chdir", directory, *command),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert outcome.returncode == 0, f"{command}:\n{outcome.stdout[-4000:]}\n{outcome.stderr[-2000:]}"
        return outcome.stdout

    @property
    def processes(self) -> list[str]:
        """The command lines of the processes that live inside."""
        found: list[str] = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "root").readlink() == self.path:
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it has ended, or is a kernel thread
        return found


@pytest.fixture
def bare_root() -> Iterator[BareRoot]:
    """Made from packages, with the checkout cloned into it."""
    path = Path("/var/tmp") / f"ts-bare-{os.getpid()}"
    packages = "--include=python3,git,make"
    subprocess.run(("mmdebstrap", "--quiet", "--variant=minbase", packages, "bookworm", str(path)), check=True)
    shutil.copy("/etc/resolv.conf", path / "etc" / "resolv.conf")
    subprocess.run(("git", "clone", "--quiet", str(CHECKOUT), str(path / "root" / "trackside")), check=True)
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    environment |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if CERTIFICATES.exists():  # a company's own authorities, which no fresh Debian knows
        shutil.copy(CERTIFICATES, path / "root" / "ca.pem")
        environment["SSL_CERT_FILE"] = "/root/ca.pem"
    environment |= {"TRACKSIDE_API_PORT": str(free_port()), "TRACKSIDE_EDGE_PORT": str(free_port())}
    holder = subprocess.Popen(("unshare", "--mount", "--propagation=private", "sleep", "infinity"))
    root = BareRoot(path, holder, environment)
    mount = ("nsenter", f"--target={wait_for_namespace(holder)}", "--mount", "mount")
    # The engine unpacks layers in roots of their own, which it makes out of a mount, as every machine's root is one.
    subprocess.run((*mount, "--bind", str(path), str(path)), check=True)
    for source, target, kind in MOUNTS:
        subprocess.run((*mount, "-t", kind, source, str(path / target)), check=True)
    for target in ("/sys", "/dev"):
        subprocess.run((*mount, "--rbind", target, f"{path}{target}"), check=True)
    yield root
    subprocess.run(
        ("nsenter", f"--target={holder.pid}", "--mount", "chroot", str(path), "make", "-C", "/root/trackside", "stop"),
        env=environment,
        check=False,
        capture_output=True,
    )
    holder.kill()
    holder.wait()
    subprocess.run(("rm", "--recursive", "--force", "--one-file-system", str(path)), check=True)


def wait_for_namespace(holder: subprocess.Popen[bytes]) -> int:
    """The holder's process id, once it has a mount namespace of its own."""
    ours, deadline = Path("/proc/self/ns/mnt").readlink(), time.monotonic() + 10
    while Path(f"/proc/{holder.pid}/ns/mnt").readlink() == ours:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return holder.pid


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_bare_debian_comes_up_serves_and_stops_without_a_trace(bare_root: BareRoot) -> None:
    assert not (bare_root.path / "usr/bin/pip").exists()
    began = time.monotonic()
    output = bare_root.run("make", "demo", directory="/root/trackside")
    cold = time.monotonic() - began
    printed = re.search(r"The app\s+http://(\S+):(\d+)", output)
    assert printed, output
    host, port = printed.groups()
    answer = httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": f"{host}:{port}"}, timeout=30, trust_env=False)
    assert answer.status_code == 200
    began = time.monotonic()
    assert "deployed already" in bare_root.run("make", "demo", directory="/root/trackside")
    warm = time.monotonic() - began
    bare_root.run("make", "stop", directory="/root/trackside")
    assert bare_root.processes == []
    print(f"make demo on a bare Debian: {cold:.0f} s with all packages, {warm:.1f} s again")
    assert cold < COLD_SECONDS
    assert warm < 30
