"""Debian base images by name, and the command that makes one from packages. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUITES = {"11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}
STABLE = "trixie"
_NAMES = frozenset({*SUITES.values(), "sid"})
_UNRELEASED = frozenset({"sid", "forky"})
_ALIASES = {"latest": STABLE, "stable": STABLE, "unstable": "sid", "testing": "forky", "oldstable": "bookworm"}
DEFAULT_MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("ca-certificates", "tzdata")
EPOCH = 1_700_000_000
"""The time stamp of bootstrapped files (SOURCE_DATE_EPOCH), so that the same packages give the same image."""


def debian_suite(image: str) -> str | None:
    """The suite of `debian:bookworm-slim`, `debian:12`, `debian:12.5-slim`, `debian`…; None for other images."""
    name, _, tag = image.partition("@")[0].partition(":")
    if name.removeprefix("docker.io/").removeprefix("library/") != "debian" or "@" in image:
        return None
    tag = re.sub(r"-\d{8}", "", tag or "latest").removesuffix("-slim")
    number = re.fullmatch(r"(\d+)(\.\d+)*", tag)
    if number:
        return SUITES.get(number[1])
    return _ALIASES.get(tag, tag if tag in _NAMES else None)


def sources_list(suite: str, mirror: str) -> str:
    """apt's one-line sources of a suite at a mirror. A mirror whose path ends in /debian has /debian-security beside it."""
    mirror = mirror.rstrip("/")
    lines = [f"deb {mirror} {suite} main"]
    if suite not in _UNRELEASED:
        lines.append(f"deb {mirror} {suite}-updates main")
        if mirror.endswith("/debian"):
            lines.append(f"deb {mirror}-security {suite}-security main")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Bootstrap:
    """Files of one bootstrap: the archive to write, and the sources that the image itself is left with."""

    suite: str
    archive: Path
    sources: Path


def bootstrap_command(order: Bootstrap, mirror: str, ca_bundle: Path | None) -> Sequence[str]:
    """mmdebstrap's arguments: the smallest Debian with certificates and time zones, without manuals and translations.

    The mirror is used while it is made; the image's own sources are Debian's, as in the published images.
    """
    excluded = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/doc/*")
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "--format=tar"]
    command += [f"--dpkgopt=path-exclude={path}" for path in excluded]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    command += ['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Sandbox::User "root"']
    if order.suite in _UNRELEASED:
        command.append('--aptopt=Acquire::Check-Valid-Until "false"')
    if ca_bundle:
        command.append(f'--aptopt=Acquire::https::CaInfo "{ca_bundle}"')
    command.append(f"--customize-hook=upload {order.sources} /etc/apt/sources.list")
    # mmdebstrap leaves apt's options behind, the path of a company's certificates among them.
    command.append('--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"')
    lines = sources_list(order.suite, mirror or DEFAULT_MIRROR).splitlines()
    return [*command, "--", order.suite, str(order.archive), *lines]
