"""One build's command line, environment and files. Pure."""

import hashlib
import hmac
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trackside.adapters.buildkit.debian import debian_suite
from trackside.adapters.buildkit.instructions import declared_arguments, external_images
from trackside.adapters.buildkit.network import network_secrets
from trackside.adapters.buildkit.options import BuildKitOptions
from trackside.adapters.buildkit.rewrite import Rewriting, rewrite_dockerfile
from trackside.rooms.builds.model import BuildOrder
from trackside_planner import EXCLUDED, VARIABLES_DIGEST, VARIABLES_SECRET

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = re.compile(
    r"(DOCKER_|BUILDKIT_|BUILDX_|LD_|GO[A-Z]|XDG_|SSL_|OTEL_)|(HOME|PATH|TMPDIR|NO_PROXY|HTTPS?_PROXY|no_proxy|https?_proxy)$"
)
"""Names that would change how the build program itself works; a variable of that name is not offered as an argument."""


@dataclass(frozen=True)
class PreparedBuild:
    """Everything of a build but the world. `secrets`: name → content, each to become a private file.

    `ignore` is laid beside the Dockerfile, where it goes before the tree's `.dockerignore`; None: that holds.
    """

    dockerfile: str
    ignore: str | None
    secrets: Mapping[str, str]
    images: Sequence[str]
    arguments: Mapping[str, str]
    not_offered: Sequence[str]
    digest: str | None
    is_uncached: bool


def prepare(order: BuildOrder, options: BuildKitOptions, key: bytes, ignore: str | None) -> PreparedBuild:
    """`key` keys the digest of the variables, so that an image's history gives nothing away; `ignore` is the tree's .dockerignore."""
    rewriting = Rewriting(options.network, _workspace_digest(order, key), order.is_planned)
    declared = declared_arguments(order.dockerfile)
    offered = {**({} if order.is_planned else order.variables), **order.build_arguments}
    arguments = {name: value for name, value in offered.items() if name in declared and _can_be_offered(name, value)}
    images = external_images(order.dockerfile, offered, order.target)
    suites = frozenset(suite for image in images if (suite := debian_suite(image)))
    return PreparedBuild(
        dockerfile=rewrite_dockerfile(order.dockerfile, rewriting),
        ignore=_ignore(ignore) if order.is_planned else order.ignore,
        secrets=network_secrets(options.network, suites) | _variable_secrets(order),
        images=images,
        arguments=arguments,
        not_offered=sorted(name for name in offered if name in declared and name not in arguments),
        digest=_variables_digest(order, key) if VARIABLES_DIGEST in declared else None,
        is_uncached=order.variables.get("NO_CACHE") == "1",
    )


def _can_be_offered(name: str, value: str) -> bool:
    return not _OURS.match(name) and "\0" not in value


def _ignore(own: str | None) -> str:
    return "\n".join([*(own or "").splitlines(), *EXCLUDED]) + "\n"


def _variable_secrets(order: BuildOrder) -> dict[str, str]:
    """A planned build reads all variables from one file; a Dockerfile mounts each by its name (`--mount=type=secret,id=NAME`)."""
    if order.is_planned:
        lines = [
            f"export {name}={shlex.quote(value)}" for name, value in order.variables.items() if _NAME.fullmatch(name)
        ]
        return {VARIABLES_SECRET: "\n".join(lines) + "\n"} if lines else {}
    wanted = set(re.findall(r"--mount=\S*\bid=([A-Za-z_]\w*)", order.dockerfile))
    return {name: value for name, value in order.variables.items() if name in wanted}


def _workspace_digest(order: BuildOrder, key: bytes) -> str:
    """The workspace as part of cache names: one that no other tenant can name."""
    return hmac.new(key, order.workspace_id.bytes, hashlib.sha256).hexdigest()[:32]


def _variables_digest(order: BuildOrder, key: bytes) -> str:
    content = "\0".join(f"{name}={value}" for name, value in sorted(order.variables.items()))
    return hmac.new(key, f"{order.workspace_id}\0{content}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class BuildFiles:
    """Where one build's own files lie: a private directory outside of the tree."""

    directory: Path

    @property
    def dockerfile(self) -> Path:
        return self.directory / "Dockerfile"

    @property
    def ignore(self) -> Path:
        return self.directory / "Dockerfile.dockerignore"

    @property
    def image_id(self) -> Path:
        return self.directory / "image-id"

    def secret(self, name: str) -> Path:
        return self.directory / "secrets" / name


def build_command(order: BuildOrder, prepared: PreparedBuild, options: BuildKitOptions, files: BuildFiles) -> list[str]:
    """The build program's arguments. No value of a variable is among them: they travel by file or environment."""
    command = [options.docker_program, "-H", options.build_engine_url, "build", "--progress=plain"]
    command += ["--file", str(files.dockerfile), "--iidfile", str(files.image_id)]
    if order.target:
        command.append(f"--target={order.target}")
    if prepared.is_uncached:
        command.append("--no-cache")
    for name in sorted(prepared.secrets):
        command += ["--secret", f"id={name},src={files.secret(name)}"]
    if options.network.ca_bundle:
        command += ["--secret", f"id=trackside-ca,src={options.network.ca_bundle}"]
    for name in sorted(prepared.arguments):
        command += ["--build-arg", name]
    if prepared.digest:
        command += ["--build-arg", f"{VARIABLES_DIGEST}={prepared.digest}"]
    for name, value in sorted(order.labels.items()):
        command += ["--label", f"{name}={value}"]
    return [*command, "--", str(order.tree)]


def build_environment(prepared: PreparedBuild, files: BuildFiles) -> dict[str, str]:
    """The build program's whole environment; arguments' values first, so that they can't replace ours."""
    return {
        **prepared.arguments,
        "DOCKER_BUILDKIT": "1",
        "DOCKER_CONFIG": str(files.directory),
        "HOME": str(files.directory),
        "PATH": "/usr/bin:/bin",
    }
