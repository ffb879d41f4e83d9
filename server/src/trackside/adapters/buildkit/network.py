"""The files that a company network's settings become inside a build: environment, apt configuration, apt sources. Pure."""

import shlex
from collections.abc import Mapping

from trackside.adapters.buildkit.debian import sources_list
from trackside.adapters.buildkit.options import CompanyNetwork

DIRECTORY = "/dev/trackside"
ENVIRONMENT_SECRET, ENVIRONMENT_FILE = "trackside-environment", f"{DIRECTORY}/environment"
CA_SECRET, CA_FILE = "trackside-ca", f"{DIRECTORY}/ca.pem"
APT_SECRET, APT_CONFIG_FILE = "trackside-apt", f"{DIRECTORY}/apt.conf"
SOURCES_FILE = f"{DIRECTORY}/sources.list"

_CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "DENO_CERT",
    "YARN_HTTPS_CA_FILE_PATH",
)


MIRRORED_APT_SECRET = "trackside-apt-mirror"
"""apt's configuration in stages whose sources are known: those of Debian."""
LISTS = "/var/lib/apt/lists"


def apt_sources_secret(suite: str) -> str:
    return f"trackside-apt-sources-{suite}"


def environment_file(network: CompanyNetwork) -> str:
    """Shell text that sets the certificates, and the mirrors where the Dockerfile names none itself."""
    lines = [f"export {name}={CA_FILE}" for name in _CA_VARIABLES] if network.ca_bundle else []
    mirrors: Mapping[str, str] = {
        "PIP_INDEX_URL": network.pip_index_url,
        "UV_DEFAULT_INDEX": network.pip_index_url,
        "npm_config_registry": network.npm_registry,
        "YARN_NPM_REGISTRY_SERVER": network.npm_registry,
        "npm_config_omit_lockfile_registry_resolved": "true" if network.npm_registry else "",
        "GOPROXY": network.go_proxy,
    }
    lines += [
        f'if [ -z "${{{name}+set}}" ]; then export {name}={shlex.quote(value)}; fi'
        for name, value in mirrors.items()
        if value
    ]
    lines.append(f"if [ -f {APT_CONFIG_FILE} ]; then export APT_CONFIG={APT_CONFIG_FILE}; fi")
    return "\n".join(lines) + "\n"


def apt_configuration(network: CompanyNetwork, *, is_mirrored: bool) -> str:
    """apt's configuration: the certificates, the mirror's sources; no binary caches, which would note the mirror's name."""
    lines: list[str] = []
    if network.ca_bundle:
        lines.append(f'Acquire::https::CaInfo "{CA_FILE}";')
    if is_mirrored:
        lines += [f'Dir::Etc::SourceList "{SOURCES_FILE}";', 'Dir::Etc::SourceParts "/dev/null";']
        lines += ['Dir::Cache::pkgcache "";', 'Dir::Cache::srcpkgcache "";']
    return "\n".join(lines) + "\n"


def network_secrets(network: CompanyNetwork, suites: frozenset[str]) -> dict[str, str]:
    """Secret name → content, for every file but the certificates (which are a file already)."""
    if network.is_empty:
        return {}
    secrets = {ENVIRONMENT_SECRET: environment_file(network), APT_SECRET: apt_configuration(network, is_mirrored=False)}
    if network.apt_mirror:
        secrets[MIRRORED_APT_SECRET] = apt_configuration(network, is_mirrored=True)
        secrets |= {apt_sources_secret(suite): sources_list(suite, network.apt_mirror) for suite in sorted(suites)}
    return secrets
