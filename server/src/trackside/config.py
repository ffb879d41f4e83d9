"""Settings: every knob of the server, read once, frozen, handed down in pieces by bootstrap.

A value comes from the environment (`TRACKSIDE_<NAME>`), else from `settings.json` in the state directory (written by
`trackside server start`), else from the default here.
"""

import os
from collections.abc import Mapping
from pathlib import Path

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
    build_seconds: int = 1200
    """Time a build may take."""
    build_slots: int = 1
    """Builds that run at once."""
    docker_program: str = "/usr/bin/docker"
    """The docker command line, used to drive BuildKit."""

    # --- sources ---
    file_source_roots: tuple[Path, ...] = ()
    """Directories whose git repositories may be deployed by `file://` URL or path."""
    allow_private_sources: bool = False
    """Whether git URLs may lead to private, loopback or link-local addresses."""
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
    """Registry (host:port/prefix) asked for base images before the engine's own default; empty = the engine's default."""
    base_images: str = "auto"
    """`registry`: pull base images; `bootstrap`: make them from Debian packages; `auto`: pull, else bootstrap."""

    # --- networks ---
    network_pool: str = "10.210.0.0/16"
    """Addresses environments get their /24 subnets from."""
    build_network: str = "10.209.255.0/24"
    """Addresses of builds."""
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = JsonConfigSettingsSource(settings_cls, json_file=state_directory() / "settings.json")
        return init_settings, env_settings, file
