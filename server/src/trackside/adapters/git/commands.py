"""The environment and arguments git runs with. Pure.

Nothing of the machine's configuration holds, nothing asks, no helper runs. Secrets travel by environment and private files, never
by argument.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trackside.adapters.git.urls import RepositoryUrl, Transport


@dataclass(frozen=True)
class Remote:
    """A repository to reach: its URL, and the addresses that were checked (empty for files)."""

    url: RepositoryUrl
    addresses: Sequence[str] = ()
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Home:
    """A private directory of one fetch."""

    directory: Path
    ca_bundle: Path | None = None

    @property
    def key(self) -> Path:
        return self.directory / "key"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"


def git_environment(remote: Remote, home: Home) -> dict[str, str]:
    """The whole environment of a git process that talks to one remote."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home.directory),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_ALLOW_PROTOCOL": str(remote.url.transport),
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_ADVICE": "0",
    }
    if home.ca_bundle:
        environment["GIT_SSL_CAINFO"] = str(home.ca_bundle)
    if remote.url.transport is Transport.SSH:
        environment["GIT_SSH_COMMAND"] = f"ssh -F {_plain(home.ssh_config)}"
        environment["GIT_SSH_VARIANT"] = "ssh"
    configuration = _configuration(remote)
    environment["GIT_CONFIG_COUNT"] = str(len(configuration))
    for number, (name, value) in enumerate(configuration):
        environment[f"GIT_CONFIG_KEY_{number}"] = name
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def _configuration(remote: Remote) -> list[tuple[str, str]]:
    settings = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.askPass", ""),
        ("core.symlinks", "true"),
        ("core.autocrlf", "false"),
        ("core.protectHFS", "true"),
        ("core.protectNTFS", "true"),
        ("credential.helper", ""),
        ("protocol.ext.allow", "never"),
        ("protocol.file.allow", "always" if remote.url.transport is Transport.FILE else "never"),
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", "60"),
        ("fetch.fsckObjects", "true"),
        ("fetch.fsck.zeroPaddedFilemode", "ignore"),
        ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
        ("fetch.fsck.badTimezone", "ignore"),
        ("fetch.recurseSubmodules", "false"),
        ("submodule.recurse", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("safe.directory", "*"),
        ("advice.detachedHead", "false"),
        ("init.defaultBranch", "main"),
    ]
    if remote.url.transport in (Transport.HTTP, Transport.HTTPS) and remote.addresses:
        port = remote.url.port or (443 if remote.url.transport is Transport.HTTPS else 80)
        settings.append(
            ("http.curloptResolve", f"{remote.url.host}:{port}:{','.join(map(_bracketed, remote.addresses))}")
        )
    if remote.token:
        # Only for this very host, so that no submodule elsewhere is shown the token.
        settings.append((f"http.{host_url(remote.url)}.extraHeader", authorization_header(remote.token)))
    return settings


def host_url(url: RepositoryUrl) -> str:
    return RepositoryUrl(url.transport, "/", url.host, url.port).text


def authorization_header(token: str) -> str:
    """Basic authentication with the token as the password, which every forge takes."""
    credentials = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    return f"Authorization: Basic {credentials}"


def ssh_configuration(remote: Remote, home: Home, port: int | None) -> str:
    """ssh's whole configuration: the one key, the one pinned host, nothing asked, nothing forwarded.

    The connection goes to the address that was checked; the host key is still looked up under the host's name.
    """
    lines = {
        "HostName": remote.addresses[0] if remote.addresses else remote.url.host,
        "HostKeyAlias": host_alias(remote.url.host, port),
        "UserKnownHostsFile": home.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentityFile": home.key,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "BatchMode": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "ProxyCommand": "none",
        "UpdateHostKeys": "no",
        "CanonicalizeHostname": "no",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
        "LogLevel": "ERROR",
    }
    return "Host *\n" + "".join(f"  {name} {value}\n" for name, value in lines.items())


def host_alias(host: str, port: int | None) -> str:
    """The name under which known_hosts lists a host."""
    return f"[{host}]:{port}" if port and port != 22 else host


def list_references(remote: Remote) -> list[str]:
    return ["git", "ls-remote", "--symref", "--", remote.url.text]


def fetch(remote: Remote, wanted: str, *, is_shallow: bool) -> list[str]:
    depth = ["--depth=1"] if is_shallow else []
    return ["git", "fetch", "--no-tags", "--no-recurse-submodules", "--quiet", *depth, "--", remote.url.text, wanted]


def fetch_everything(remote: Remote) -> list[str]:
    """All branches and tags, for a commit that the server does not give by itself."""
    refspecs = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
    return ["git", "fetch", "--no-recurse-submodules", "--quiet", "--", remote.url.text, *refspecs]


def _plain(path: Path) -> str:
    """A path of ours that goes into text for a shell: it must need no quoting."""
    text = str(path)
    if not all(character.isalnum() or character in "/._-" for character in text):
        raise ValueError(f"the directory `{text}` can't be used for keys: its name needs quoting")
    return text


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
