"""Settings: every knob of the server, read once, frozen, handed down in pieces by bootstrap.

A value comes from the environment (`TRACKSIDE_<NAME>`), else from `settings.json` in the state directory (written by
`trackside server start`), else from the default here. The engine alone is what the start has chosen.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)


def state_directory() -> Path:
    """The state directory: `TRACKSIDE_HOME`, else `.trackside` in the present directory."""
    return Path(os.environ.get("TRACKSIDE_HOME", ".trackside")).resolve()


CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
MIRROR_VARIABLES = {
    "pip_index_url": ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
    "npm_registry": ("NPM_CONFIG_REGISTRY", "npm_config_registry"),
    "go_proxy": ("GOPROXY",),
}


def adopted(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings for company networks that the machine's own variables tell, as pip, npm and others read them."""
    found = {"ca_bundle": next((environment[name] for name in CA_VARIABLES if environment.get(name)), "")}
    for setting, names in MIRROR_VARIABLES.items():
        found[setting] = next((environment[name] for name in names if environment.get(name)), "")
    return {name: value for name, value in found.items() if value}


def given() -> dict[str, str]:
    """The environment of the command that was typed; the one place where it is read."""
    return dict(os.environ)


class Chosen(JsonConfigSettingsSource):
    """What the start has chosen: of the engine the environment names a wish (`embedded`), which only the start understands."""

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name == "engine_url"}


class Settings(BaseSettings):
    """All settings, grouped by what they are about; sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="TRACKSIDE_", frozen=True, extra="ignore")

    # --- the platform ---
    home: Path = Field(default_factory=state_directory)
    """State directory: settings, keys, logs, uploads, sockets' location."""
    installation: str = ""
    """Identifies this platform on the machine (8 hex digits): label of everything it creates. Made at the first start."""
    base_domain: str = "localhost"
    """Host names of apps are `<service>-<environment>.<base_domain>`."""
    api_host: str = "127.0.0.1"
    """Address the API listens on."""
    api_port: int = 7700
    """Port the API listens on."""
    edge_host: str = "0.0.0.0"
    """Address apps are served on."""
    edge_port: int = 7780
    """Port apps are served on."""

    failpoints: Path | None = None
    """For tests only: folder in which points are named at which a process is to stand still."""

    # --- data ---
    database_url: str = ""
    """PostgreSQL as the application's restricted role, `postgresql://…`. Empty: the embedded one."""
    database_owner_url: str = ""
    """PostgreSQL as the owner of the schemas, for migrations and replay."""

    # --- engines ---
    engine_url: str = "unix:///var/run/docker.sock"
    """The container engine that runs apps."""
    build_engine_url: str = ""
    """The engine of our own that runs builds. Set by the host at start."""
    build_cgroup: str = ""
    """The parent control group of builds, where limits are set and read."""
    build_cpu: float = 0.0
    """CPU cores all builds together may use; 0 = half of the machine, at least one."""
    build_memory_bytes: int = 4 << 30
    """Memory a build may use."""
    build_disk_bytes: int = 20 << 30
    """Size of the builds' file system."""
    build_cache_bytes: int = 0
    """Most bytes of build cache kept; 0 = half of `build_disk_bytes`."""
    build_cache_days: int = 14
    """Days that build cache is kept after its last use."""
    build_seconds: int = 1200
    """Time a build may take."""
    build_slots: int = 1
    """Builds that run at once. More than one share the build engine's network and its limits: only where all workspaces are yours."""
    hang_seconds: int = 30
    """Seconds without an answer after which an engine or database of our own is taken for hanging and started anew; 0 = never."""
    docker_program: str = "/usr/bin/docker"
    """The docker command line, used to drive BuildKit."""

    # --- sources ---
    file_source_roots: tuple[Path, ...] = ()
    """Directories whose git repositories may be deployed by `file://` URL or path."""
    allow_private_sources: bool = False
    """Whether git URLs may lead to private, loopback or link-local addresses."""
    allow_engine_images: bool = False
    """Whether any image on the engine may be deployed by its content id; else only one that the workspace deployed before."""
    upload_bytes: int = 1 << 30
    """Largest upload, packed."""

    # --- company networks ---
    ca_bundle: Path | None = None
    """PEM file with the certificate authorities to trust, also inside builds; it never stays in an image."""
    pip_index_url: str = ""
    """Package index for Python packages inside builds."""
    npm_registry: str = ""
    """Registry for npm packages inside builds."""
    apt_mirror: str = ""
    """Mirror for Debian packages in bootstrapped base images and inside builds."""
    go_proxy: str = ""
    """Go module proxy inside builds."""
    registry_mirror: str = ""
    """Registry asked for images that name none, before the engine's default: `host:port/prefix`; with `http://`, without TLS."""
    image_registries: tuple[str, ...] = ()
    """The only registries (`host` or `host:port`) that may be asked for images, in deployments and in Dockerfiles; `default` is the
    engine's own, and that of `registry_mirror` is always one of them. Empty: any."""
    base_images: str = "auto"
    """`registry`: pull base images; `bootstrap`: make them from Debian packages; `auto`: pull, else bootstrap."""

    # --- networks ---
    network_pool: str = "10.210.0.0/16"
    """Addresses environments get their /24 subnets from. Chosen at the first start, and fixed from then on."""
    build_network: str = "10.209.255.0/24"
    """Addresses of builds. Chosen at the first start, and fixed from then on."""
    close_private_networks: bool = False
    """Whether apps and builds are kept from private networks beyond the machine (10/8, 172.16/12, 192.168/16, 100.64/10)."""
    edge_slots: int = 10_000
    """Backends the edge holds at once; each deployment that serves, arrives or leaves has one."""
    interface_prefix: str = ""
    """First letters of the names of our bridges (at most 6), e.g. `ts1a2b`."""
    upstream_resolvers: tuple[str, ...] = ()
    """DNS servers for outside names; empty = those of /etc/resolv.conf."""

    # --- defaults for apps ---
    app_cpu: float = 2.0
    """CPU cores a replica may use, unless its config says otherwise."""
    app_memory_bytes: int = 1 << 30
    """Memory a replica may use, unless its config says otherwise."""
    kept_images: int = 5
    """Images kept per service instance, of the last deployments that reached SUCCESS."""
    log_days: int = 30
    """Days that logs are kept."""
    log_bytes: int = 256 << 20
    """Most bytes of log kept per stream."""
    all_logs_bytes: int = 8 << 30
    """Most bytes of log kept over all streams; beyond that the oldest lines of all go first."""

    # --- space ---
    low_disk_bytes: int = 2 << 30
    """A disk with less free is low: nothing is built or pulled until there is room again. The lesser of this and the next holds."""
    low_disk_percent: float = 5.0
    """A disk with a lesser part free is low."""

    @property
    def registry_mirror_name(self) -> str:
        """The mirror as names of images begin with it."""
        return self.registry_mirror.rpartition("://")[2]

    @property
    def insecure_registry(self) -> str:
        """The registry (host:port) that our own engines ask without TLS; empty = none but those on loopback."""
        return self.registry_mirror_name.partition("/")[0] if self.registry_mirror.startswith("http://") else ""

    @property
    def api_url(self) -> str:
        """Where the API is reached from this machine."""
        host = "127.0.0.1" if self.api_host in ("0.0.0.0", "::") else self.api_host
        return f"http://{host}:{self.api_port}"

    @property
    def edge_url(self) -> str:
        """Where apps are reached from this machine; each by its host name."""
        host = "127.0.0.1" if self.edge_host in ("0.0.0.0", "::") else self.edge_host
        return f"http://{host}:{self.edge_port}"

    @property
    def app_url(self) -> str:
        """Where people reach an app; `{host}` stands for its name."""
        return "http://{host}" if self.edge_port == 80 else f"http://{{host}}:{self.edge_port}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = state_directory() / "settings.json"
        chosen = Chosen(settings_cls, json_file=file)
        return init_settings, chosen, env_settings, JsonConfigSettingsSource(settings_cls, json_file=file)
