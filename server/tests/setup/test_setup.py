"""`bin/setup` where something is missing: what the user reads names the command that mends it. Real programs, real faults."""

import fcntl
import importlib.util
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from e2e.authority import Authority

CHECKOUT = Path(__file__).parents[3]
MEMBERS = ("planner", "server", "cli")
FILES = ("bin/setup", "bin/setup.py", "uv.lock", "pyproject.toml", *(f"{name}/pyproject.toml" for name in MEMBERS))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What setting up reads of a checkout, in a place of its own where nothing is set up."""
    return copied(tmp_path / "checkout")


def copied(into: Path) -> Path:
    for name in FILES:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, into / name)
    (into / ".tools").mkdir()
    (into / ".tools" / "setup.log").touch()
    return into


def loaded(checkout: Path) -> ModuleType:
    """The program's functions, which work on this checkout."""
    spec = importlib.util.spec_from_file_location("setup_of_a_checkout", checkout / "bin" / "setup.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told(checkout: Path, **environment: str) -> str:
    """Set up, which must fail without a traceback; what is said of it."""
    outcome = subprocess.run(
        [sys.executable, "-I", str(checkout / "bin" / "setup.py")],
        env={"PATH": os.environ["PATH"], "HOME": str(checkout), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode == 1, outcome.stdout
    assert outcome.stderr.startswith("trackside: "), outcome.stderr
    assert "Traceback" not in outcome.stderr
    return outcome.stderr


def told_by_run(checkout: Path, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What is said when setting up runs this program."""
    with pytest.raises(SystemExit) as ended:
        loaded(checkout).run(*argv)
    assert ended.value.code == 1
    return capsys.readouterr().err


# --- the machine ---


def test_a_disk_without_room_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)], check=True)
    try:
        said = told(copied(small / "checkout"))
        assert list((small / "checkout" / ".tools").iterdir()) == [small / "checkout/.tools/setup.log"]
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert "MiB free; setting up needs 3 GiB" in said
    assert "df -h; du -xh / | sort -h | tail" in said
    assert "make setup" in said


@pytest.mark.parametrize(("has_sudo", "expected"), [(False, "su -c 'make setup'"), (True, "sudo apt-get")])
def test_without_rights_it_takes_sudo_or_says_how_to_become_root(
    checkout: Path, tmp_path: Path, has_sudo: bool, expected: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if has_sudo:
        (programs / "sudo").touch(mode=0o755)
    for directory in (checkout, *checkout.parents):
        if directory.is_relative_to("/tmp/pytest-of-root"):
            directory.chmod(0o755)
    script = (
        f"import sys; sys.path.insert(0, {str(checkout / 'bin')!r}); import setup; print(setup.rights()[0], 'apt-get')"
    )
    outcome = subprocess.run(
        [
            "/usr/bin/setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            sys.executable,
            "-I",
            "-c",
            script,
        ],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
    )
    assert expected in outcome.stdout + outcome.stderr
    assert outcome.returncode == (0 if has_sudo else 1)


def test_a_python_that_is_too_old_or_missing_is_told_with_the_package(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "dirname").symlink_to("/usr/bin/dirname")
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    (programs / "python3").chmod(0o755)
    outcome = subprocess.run(
        ["/bin/sh", str(checkout / "bin" / "setup")], env={"PATH": str(programs)}, capture_output=True, text=True
    )
    assert (outcome.returncode, "sudo apt-get install python3" in outcome.stderr) == (1, True)


# --- the package index ---


@contextmanager
def an_index(pages: dict[str, bytes], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A package index on loopback with these pages; its address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            return

        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_index_that_is_not_reached_is_told_with_the_settings_for_proxy_and_mirror(checkout: Path) -> None:
    said = told(checkout, PIP_INDEX_URL="http://me:secret-word@127.0.0.1:9/simple")
    assert "https_proxy=http://proxy:port make setup" in said
    assert "PIP_INDEX_URL=https://mirror/simple make setup" in said
    assert "secret-word" not in said + (checkout / ".tools/setup.log").read_text()


def test_an_index_whose_name_is_not_known_is_told_with_the_place_to_look_at(checkout: Path) -> None:
    said = told(checkout, PIP_INDEX_URL="http://no-such-host.invalid/simple")
    assert "/etc/resolv.conf" in said


def test_an_index_that_is_not_trusted_is_told_with_the_setting_for_an_authority(checkout: Path, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    with an_index({}, authority.tls) as address:
        assert "SSL_CERT_FILE=/path/to/ca.pem make setup" in told(checkout, PIP_INDEX_URL=f"{address}/simple")
        trusted = told(checkout, PIP_INDEX_URL=f"{address}/simple", SSL_CERT_FILE=str(authority.bundle))
        assert "404" in trusted


def test_an_index_without_the_pinned_program_or_with_another_file_of_its_name_is_told(checkout: Path) -> None:
    name = loaded(checkout).UV_WHEELS[os.uname().machine][0]
    with an_index({"/simple/uv/": b"<html></html>"}) as address:
        assert "PIP_INDEX_URL=https://mirror/simple make setup" in told(checkout, PIP_INDEX_URL=f"{address}/simple")
    pages = {"/simple/uv/": f'<a href="../{name}">it</a>'.encode(), f"/simple/{name}": b"something else"}
    with an_index(pages) as address:
        said = told(checkout, PIP_INDEX_URL=f"{address}/simple")
    assert "is not the file that was pinned" in said
    assert "Check the package index, then: make setup" in said


# --- programs that fail ---


def apt(tmp_path: Path, *sources: str) -> list[str]:
    """apt-get with sources and lists of its own, which installs nothing."""
    for name in ("lists/partial", "cache/archives/partial"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sources.list").write_text("".join(f"deb {source} bookworm main\n" for source in sources))
    options = {
        "Dir::Etc::sourcelist": f"{tmp_path}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": f"{tmp_path}/lists",
        "Dir::Cache": f"{tmp_path}/cache",
        "Acquire::http::Proxy": "DIRECT",
        "Acquire::https::Proxy": "DIRECT",
        "Acquire::Retries": "0",
        "APT::Update::Error-Mode": "any",
    }
    return ["apt-get", "-q", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def test_a_package_source_that_is_not_reached_is_told(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unreached = apt(tmp_path / "a", "http://127.0.0.1:9/debian")
    assert "https_proxy=" in told_by_run(checkout, capsys, *unreached, "update")
    unknown = apt(tmp_path / "b", "http://no-such-host.invalid/debian")
    assert "/etc/resolv.conf" in told_by_run(checkout, capsys, *unknown, "update")
    with an_index({}, Authority.make(tmp_path).tls) as address:
        untrusted = apt(tmp_path / "c", f"{address}/debian")
        assert "SSL_CERT_FILE=" in told_by_run(checkout, capsys, *untrusted, "update")


def test_a_package_that_no_source_has_is_told(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told_by_run(checkout, capsys, *apt(tmp_path), "install", "--simulate", "no-such-package")
    assert "sudo add-apt-repository universe" in said
    assert "Unable to locate package no-such-package" in said


def test_where_the_sources_were_not_reached_before_the_network_is_told_and_not_the_package(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without a network has empty lists, so that each package seems to be missing."""
    program, setup = apt(tmp_path, "http://no-such-host.invalid/debian"), loaded(checkout)
    with setup.LOG.open("ab") as log:
        subprocess.run([*program, "update"], stdout=log, stderr=log, check=False)
    with pytest.raises(SystemExit):
        setup.run(*program, "install", "--simulate", "no-such-package", since=0)
    said = capsys.readouterr().err
    assert "Unable to locate package no-such-package" in said
    assert "/etc/resolv.conf" in said


def test_another_installation_under_way_is_told(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = apt(tmp_path, "http://127.0.0.1:9/debian")
    with (tmp_path / "lists" / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        said = told_by_run(checkout, capsys, *program, "update")
    assert "Wait for it, then: make setup" in said


def test_a_disk_that_fills_meanwhile_is_told(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told_by_run(checkout, capsys, "cp", "/dev/zero", "/dev/full")
    assert "No space left on device" in said
    assert "df -h" in said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.", "sudo dpkg --configure -a"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "df -h"),
        ("error: Failed to fetch: `https://x/`\n  Caused by: invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE="),
        ("  Caused by: dns error: failed to lookup address information: Name or service not known", "/etc/resolv.conf"),
        ("  Caused by: error sending request for url (https://x/)\n  Caused by: tcp connect error: Connection refused", "PIP_INDEX_URL="),
        ("Setting up ca-certificates …\nE: Sub-process /usr/bin/dpkg returned an error code (1)", "setup.log, then: make setup"),
    ],
)  # fmt: skip
def test_every_complaint_leads_to_a_command(checkout: Path, said: str, expected: str) -> None:
    mend = loaded(checkout).mending(said)
    assert expected in mend
    assert mend.endswith("make setup")
