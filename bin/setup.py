"""Sets up a checkout on a bare Debian or Ubuntu: system packages, uv, and the locked Python environment.

The standard library only, for nothing else is there yet. Idempotent, and quick when there is nothing to do. Each step is
announced; what is missing is said with the command that mends it. System packages stay for good; everything else is in
`.tools` and `.venv` of the checkout.

`--into DIRECTORY` makes an environment that stands by itself, there: the checkout may change or go. So `trackside server upgrade`
prepares a version. `--wheels DIRECTORY` takes the packages from wheels instead of the checkout.
"""

import configparser
import contextlib
import hashlib
import html.parser
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NoReturn


def option(name: str) -> Path | None:
    """The directory that follows an option on the command line."""
    return Path(sys.argv[sys.argv.index(name) + 1]).resolve() if name in sys.argv[1:-1] else None


CHECKOUT = Path(__file__).resolve().parent.parent
TOOLS = CHECKOUT / ".tools"
INTO = option("--into")
WHEELS = option("--wheels")
ENVIRONMENT = INTO or CHECKOUT / ".venv"
STAMP = TOOLS / "setup.stamp"
LOG = TOOLS / "setup.log"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DEFAULT_INDEX = "https://pypi.org/simple"
MEMBERS = ("planner", "server", "cli")
PACKAGES = ("trackside-planner", "trackside", "trackside-cli")

UV_VERSION = "0.13.8"
UV_WHEELS = {
    "x86_64": (
        f"uv-{UV_VERSION}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984",
    ),
    "aarch64": (
        f"uv-{UV_VERSION}-py3-none-manylinux_2_28_aarch64.whl",
        "5337c30bb893b4f9ce0ceb921ba2da0d13f649da644f40ad3bef84083bef0203",
    ),
}

PROGRAMS = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "docker": "docker.io",
    "haproxy": "haproxy",
    "nft": "nftables",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "git": "git",
    "ssh": "openssh-client",
    "update-ca-certificates": "ca-certificates",
    "mkfs.ext4": "e2fsprogs",
    "mount": "mount",
    "setpriv": "util-linux",
    "useradd": "passwd",
    "tar": "tar",
    "xz": "xz-utils",
}
"""Program → the Debian package that has it. Present programs are left alone, wherever they came from."""
FILES = {"/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring"}
"""File → package: base images are made from Debian's packages on Ubuntu too."""
DOCKER_PLUGINS = (
    "/usr/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
)
TEST_PROGRAMS = {
    "sshd": "openssh-server",
    "docker-registry": "docker-registry",
    "busybox": "busybox-static",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
}
"""What the tests and the benchmark need besides: peers to talk to."""
SERVICES = {
    "docker.io": ("docker.service", "docker.socket"),
    "containerd": ("containerd.service",),
    "haproxy": ("haproxy.service",),
    "openssh-server": ("ssh.service", "ssh.socket"),
    "docker-registry": ("docker-registry.service",),
}
"""Services a package would start by itself at the next boot: the platform starts these programs when it runs, and only then."""

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Trackside is installing packages: their services must not start.\nexit 101\n"
LEAST_FREE_BYTES = 3 << 30
HEARTBEAT_SECONDS = 10
COMPLAINTS = (
    (
        r"No space left on device|not enough free space|don't have enough",
        "The disk is full. See what fills it: df -h; du -xh / | sort -h | tail. Then: make setup",
    ),
    (
        r"Could not get lock|Unable to acquire the dpkg|is held by process",
        "Another package installation runs. Wait for it, then: make setup",
    ),
    (
        r"dpkg was interrupted",
        "An installation was cut off earlier. Mend it: sudo dpkg --configure -a; then: make setup",
    ),
    (
        r"Temporary failure resolving|Could not resolve|Name or service not known|name resolution|dns error",
        "Names do not resolve. Check /etc/resolv.conf and the network, then: make setup",
    ),
    (
        r"[Cc]ertificate verif|certificate is NOT trusted|peer certificate|CERTIFICATE_VERIFY_FAILED|UnknownIssuer",
        "A certificate is not trusted. Where a company's proxy signs anew, name its authority: "
        "SSL_CERT_FILE=/path/to/ca.pem make setup",
    ),
    (
        r"Could not connect|Connection (timed out|refused)|Network is unreachable|error sending request|timed out",
        "The package source is not reached. Behind a proxy: https_proxy=http://proxy:port make setup; "
        "with a mirror: PIP_INDEX_URL=https://mirror/simple make setup",
    ),
    (
        r"Unable to locate package|has no installation candidate",
        "The package sources lack a package. On Ubuntu: sudo add-apt-repository universe; then: make setup",
    ),
)
"""What a failed program says → what mends it; the first that matches is shown, causes before what follows from them."""


class Steps:
    """Announces steps, and a sign of life while a long one runs."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0

    @contextlib.contextmanager
    def step(self, sentence: str) -> Generator[None, None, None]:
        self._number += 1
        say(f"[{self._number}/{self._total}] {sentence} …")
        began, done = time.monotonic(), threading.Event()
        beat = threading.Thread(target=self._beat, args=(done, began), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
        say(f"[{self._number}/{self._total}] {sentence}: done in {time.monotonic() - began:.1f} s")

    def _beat(self, done: threading.Event, began: float) -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            say(f"      … {time.monotonic() - began:.0f} s: {last_line(LOG)}")


def say(text: str) -> None:
    print(text, flush=True)


def fail(sentence: str, mend: str) -> NoReturn:
    """End with what is wrong and the command that mends it."""
    print(f"trackside: {sentence}\n  {mend}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def last_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        lines = path.read_text(errors="replace").strip().splitlines()
        return lines[-1][:100] if lines else ""
    return ""


def mending(said: str) -> str:
    """What mends that about which a program complained."""
    return next((mend for pattern, mend in COMPLAINTS if re.search(pattern, said)), f"Read {LOG}, then: make setup")


def run(*argv: str, environment: Mapping[str, str] | None = None, since: int | None = None) -> None:
    """Run a program, its output to the log; where it fails, say what mends that (`since`: where in the log the cause may be)."""
    with LOG.open("ab") as log:
        start = log.tell() if since is None else since
        status = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            check=False,
        ).returncode
    if status != 0:
        said = LOG.read_bytes()[start:].decode(errors="replace")
        last = next((line for line in reversed(said.strip().splitlines()) if line.strip()), f"exit status {status}")
        fail(f"`{' '.join(argv[:3])}` failed: {last.strip()[:200]}", mending(said))


def main() -> None:
    TOOLS.mkdir(exist_ok=True)
    needs_packages = missing_packages()
    stamp = "" if INTO else wanted_stamp()
    needs_environment = INTO is not None or not (ENVIRONMENT / "bin" / "python").exists() or read(STAMP) != stamp
    remove_forgotten_policy()
    if not needs_packages and not needs_environment:
        say("Everything is set up.")
        return
    LOG.write_text("")
    check_disk()
    steps = Steps(bool(needs_packages) + 2 * needs_environment)
    if needs_packages:
        with steps.step(f"installing system packages: {' '.join(needs_packages)}"):
            install_packages(needs_packages)
    if needs_environment:
        with steps.step(f"fetching uv {UV_VERSION}"):
            uv = fetch_uv()
        with steps.step(f"installing the locked Python packages into {INTO or '.venv'}"):
            install_environment(uv)
        if INTO:
            pass_on(uv, INTO)
        else:
            STAMP.write_text(stamp)
    say(f"Set up in {INTO}." if INTO else "Set up. Start it: make demo")


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def wanted_stamp() -> str:
    """Names what the environment is made from."""
    made = hashlib.sha256(f"{sys.version} {sys.executable} {CHECKOUT}".encode())
    files = ["uv.lock", "pyproject.toml", "bin/setup.py", *(f"{member}/pyproject.toml" for member in MEMBERS)]
    for name in files:
        made.update((CHECKOUT / name).read_bytes())
    return made.hexdigest()


def missing_packages() -> list[str]:
    """Packages whose programs are not there."""
    wanted = PROGRAMS | (TEST_PROGRAMS if "--tests" in sys.argv[1:] else {})
    if read(Path("/sys/module/apparmor/parameters/enabled")).strip() == "Y":
        wanted["apparmor_parser"] = "apparmor"  # without it no container starts on such a kernel
    missing = {package for program, package in wanted.items() if not shutil.which(program, path=SYSTEM_PATH)}
    if shutil.which("apt-get", path=SYSTEM_PATH):
        missing |= {package for file, package in FILES.items() if not Path(file).exists()}
    if not any(Path(directory, "docker-buildx").exists() for directory in DOCKER_PLUGINS) and is_offered(
        "docker-buildx"
    ):
        missing.add("docker-buildx")  # newer Debian and Ubuntu have it apart, and without it nothing is built
    if shutil.which("dockerd", path=SYSTEM_PATH) and not shutil.which("docker", path=SYSTEM_PATH):
        missing = (missing - {"docker.io"}) | {"docker-cli"}  # newer Debian has the command line apart
    if missing & {"docker.io"}:
        missing -= {"containerd", "runc"}
    return sorted(missing)


def is_offered(package: str) -> bool:
    """Whether the machine's package sources have it, as far as they are known yet."""
    program = shutil.which("apt-cache", path=SYSTEM_PATH)
    if program is None:
        return False
    shown = subprocess.run([program, "show", package], capture_output=True, text=True)
    return shown.returncode == 0 and f"Package: {package}\n" in shown.stdout


def check_disk() -> None:
    free = shutil.disk_usage(CHECKOUT).free
    if free < LEAST_FREE_BYTES:
        fail(
            f"The disk of {CHECKOUT} has {free >> 20} MiB free; setting up needs {LEAST_FREE_BYTES >> 30} GiB.",
            "See what fills it: df -h; du -xh / | sort -h | tail. Then: make setup",
        )


def rights() -> list[str]:
    """What to put before a command that needs root."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        return ["sudo", "--preserve-env=http_proxy,https_proxy,no_proxy"]
    fail("System packages are missing, and this user may not install them.", "Run it as root: su -c 'make setup'")


def install_packages(packages: list[str]) -> None:
    """Install them without any service being started, now or at the next boot."""
    if not shutil.which("apt-get", path=SYSTEM_PATH):
        fail("This is no Debian or Ubuntu: there is no apt-get.", f"Install what these have: {' '.join(packages)}")
    as_root = rights()
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", f"PATH={SYSTEM_PATH}", "apt-get", "-q", "-y"]
    options = ["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0"]
    with no_services(as_root):
        with LOG.open("ab") as log:  # a source that fails is no reason to stop: the packages may be in another
            since = log.tell()
            subprocess.run([*apt, *options, "update"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        run(*apt, *options, "--no-install-recommends", "install", *packages, since=since)
        late = missing_packages()
        if late:
            run(*apt, *options, "--no-install-recommends", "install", *late, since=since)
    disable_services(as_root, packages)


@contextlib.contextmanager
def no_services(as_root: list[str]) -> Generator[None, None, None]:
    """While this holds, installed packages do not start services. A policy that somebody else has set stays as it is."""
    if POLICY.exists():
        yield
        return
    beside = TOOLS / "policy-rc.d"
    beside.write_text(POLICY_TEXT)
    run(*as_root, "install", "-m", "755", str(beside), str(POLICY))
    try:
        yield
    finally:
        run(*as_root, "rm", "-f", str(POLICY))


def remove_forgotten_policy() -> None:
    """Take away what a set-up that was killed has left: it would keep every later package from starting its service."""
    with contextlib.suppress(OSError):
        if POLICY.read_text() == POLICY_TEXT:
            run(*rights(), "rm", "-f", str(POLICY))


def disable_services(as_root: list[str], packages: list[str]) -> None:
    systemctl = shutil.which("systemctl", path=SYSTEM_PATH)
    units = [unit for package in packages for unit in SERVICES.get(package, ())]
    if "docker.io" in packages:
        units += SERVICES["containerd"]
    if systemctl and units:
        with LOG.open("ab") as log:
            subprocess.run([*as_root, systemctl, "disable", *units], stdout=log, stderr=log, check=False)


def own_index() -> str:
    """The package index that is set on this machine, by variable or in pip's files; empty where none is."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(name):
            return os.environ[name]
    home = Path.home()
    for file in (Path("/etc/pip.conf"), home / ".config/pip/pip.conf", home / ".pip/pip.conf"):
        parser = configparser.ConfigParser(interpolation=None)
        with contextlib.suppress(configparser.Error, OSError):
            parser.read(file)
        if url := parser.get("global", "index-url", fallback=""):
            return url
    return ""


def fetch_uv() -> Path:
    """uv, of the pinned version and checksum, from the package index."""
    program = TOOLS / f"uv-{UV_VERSION}" / "uv"
    if program.exists():
        return program
    machine = platform.machine()
    if machine not in UV_WHEELS:
        fail(f"There is no pinned uv for {machine} processors.", "Use a machine with an x86_64 or aarch64 processor.")
    name, checksum = UV_WHEELS[machine]
    index = (own_index() or DEFAULT_INDEX).rstrip("/")
    wheel = download(find_link(f"{index}/uv/", name))
    if hashlib.sha256(wheel).hexdigest() != checksum:
        fail(
            f"{name} from {shown(index)} is not the file that was pinned.", "Check the package index, then: make setup"
        )
    packed = TOOLS / name
    packed.write_bytes(wheel)
    program.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(packed) as archive:
        member = next(entry for entry in archive.namelist() if entry.endswith("/scripts/uv"))
        beside = program.with_suffix(".new")
        beside.write_bytes(archive.read(member))
    beside.chmod(0o755)
    beside.replace(program)
    packed.unlink()
    return program


class Links(html.parser.HTMLParser):
    """The links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def find_link(page: str, file: str) -> str:
    """The address of a file on an index page."""
    links = Links()
    links.feed(download(page).decode(errors="replace"))
    for link in links.found:
        if urllib.parse.unquote(urllib.parse.urlsplit(link).path).endswith(f"/{file}"):
            return urllib.parse.urljoin(page, link)
    fail(
        f"{shown(page)} has no {file}.",
        "Let the mirror fetch it, or use another: PIP_INDEX_URL=https://mirror/simple make setup",
    )


def download(url: str) -> bytes:
    address, headers = without_credentials(url)
    certificates = os.environ.get("SSL_CERT_FILE") or (
        str(SYSTEM_CERTIFICATES) if SYSTEM_CERTIFICATES.exists() else None
    )
    context = ssl.create_default_context(cafile=certificates)
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, context=context, timeout=120) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError) as trouble:
        with LOG.open("a") as log:
            log.write(f"{shown(url)}: {trouble}\n")
        fail(f"{shown(url)} could not be fetched: {trouble}.", mending(str(trouble)))


def without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The address without user and password, which go into a header."""
    parts = urllib.parse.urlsplit(url)
    if not parts.username:
        return url, {}
    manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
    address = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    user, password = (urllib.parse.unquote(word or "") for word in (parts.username, parts.password))
    manager.add_password(None, address, user, password, is_authenticated=True)
    request = urllib.request.Request(address)
    urllib.request.HTTPBasicAuthHandler(manager).http_request(request)
    return address, dict(request.header_items())


def shown(url: str) -> str:
    """An address without what is secret in it."""
    return without_credentials(url)[0]


def install_environment(uv: Path) -> None:
    """Install exactly what the lock says. With an index of one's own the lock's addresses are not asked, its hashes hold."""
    environment = {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_COMPILE_BYTECODE": "1",
        "UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT),
        "VIRTUAL_ENV": str(ENVIRONMENT),
    }
    if "SSL_CERT_FILE" not in os.environ and SYSTEM_CERTIFICATES.exists():
        environment["SSL_CERT_FILE"] = str(SYSTEM_CERTIFICATES)
    index = own_index()
    if index:
        environment["UV_DEFAULT_INDEX"] = index
    if WHEELS:
        install_wheels(uv, WHEELS, environment)
    elif index:
        install_from_own_index(uv, environment)
    else:
        # What is built from the checkout is built anew: uv would take a changed file for the one it has seen.
        apart = ["--no-dev", "--no-editable", *reinstalled()] if INTO else []
        project = ["--project", str(CHECKOUT), "--frozen", "--all-packages"]
        run(str(uv), "sync", *project, *apart, "--python", sys.executable, environment=environment)


def reinstalled() -> list[str]:
    return [word for name in PACKAGES for word in ("--reinstall-package", name)]


def install_from_own_index(uv: Path, environment: Mapping[str, str]) -> None:
    """The lock's packages from an index of one's own, then the checkout's."""
    requirements = TOOLS / "requirements.txt"
    python = str(ENVIRONMENT / "bin" / "python")
    members = ["--no-emit-workspace", "--all-packages", "--no-dev" if INTO else "--all-groups"]
    project = ["--project", str(CHECKOUT), "--frozen"]
    run(str(uv), "export", *project, *members, "--output-file", str(requirements), environment=environment)
    run(str(uv), "venv", "--allow-existing", "--python", sys.executable, str(ENVIRONMENT), environment=environment)
    pip = [str(uv), "--no-config", "pip"]
    run(*pip, "sync", "--require-hashes", "--python", python, str(requirements), environment=environment)
    editable = [] if INTO else ["--editable"]
    own = [word for member in MEMBERS for word in (*editable, str(CHECKOUT / member))]
    run(*pip, "install", "--no-deps", "--python", python, *reinstalled(), *own, environment=environment)


def install_wheels(uv: Path, wheels: Path, environment: Mapping[str, str]) -> None:
    """Our packages from wheels; all others as `requirements.txt` beside them locks them, else the newest that fit.

    A directory that holds wheels of others too is taken to hold all: no index is asked.
    """
    python = str(ENVIRONMENT / "bin" / "python")
    own = sorted(str(wheel) for wheel in wheels.glob("trackside*.whl"))
    is_complete = len(list(wheels.glob("*.whl"))) > len(own)
    pip = [str(uv), "--no-config", "pip", "install", "--python", python, "--find-links", str(wheels)]
    pip += ["--no-index"] if is_complete else []
    requirements = wheels / "requirements.txt"
    run(str(uv), "venv", "--allow-existing", "--python", sys.executable, str(ENVIRONMENT), environment=environment)
    if requirements.exists():
        run(*pip, "--require-hashes", "-r", str(requirements), environment=environment)
    run(*pip, *(["--no-deps"] if requirements.exists() else []), *reinstalled(), *own, environment=environment)


def pass_on(uv: Path, environment: Path) -> None:
    """Leave this program and uv in the environment, so that the next version can be prepared without a checkout."""
    own = environment / "bin" / "setup.py"
    if own != Path(__file__).resolve():
        shutil.copyfile(__file__, own)
    beside = environment / ".tools" / uv.parent.name / uv.name
    beside.parent.mkdir(parents=True, exist_ok=True)
    if not beside.exists():
        shutil.copy2(uv, beside)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("Interrupted.", "Go on where it stopped: make setup")
