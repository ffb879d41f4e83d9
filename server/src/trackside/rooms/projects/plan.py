"""Pure decisions about names, config patches and what a config says of a service."""

import math
import re
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from trackside.kit.ids import parse_id
from trackside.rooms.projects.errors import ConfigRefused, NameRefused, VariableRefused
from trackside.rooms.projects.model import DeploySettings, ServiceSettings

NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
VARIABLE_BYTES = 64 << 10
DEPTH = 32
"""How deep a config may be nested."""
HEALTHCHECK_TYPES = ("AUTO", "HTTP", "TCP", "NONE")
RESTART_POLICIES = ("ON_FAILURE", "ALWAYS", "NEVER")
PROTOCOLS = ("http1", "h2c")
BUILDERS = ("AUTO", "DOCKERFILE", "RAILPACK", "NIXPACKS")


def is_name(name: str) -> bool:
    """Whether the text follows the grammar of names."""
    return bool(NAME.fullmatch(name))


def check_name(name: str, what: str) -> str:
    """The name, where it follows the grammar. Errors: `NameRefused`."""
    if not is_name(name):
        raise NameRefused(f"`{name[:60]}` is no name for a {what}.")
    return name


def check_variable(name: str, value: str) -> None:
    """Errors: `VariableRefused`."""
    if not VARIABLE.fullmatch(name) or len(name) > 200:
        raise VariableRefused(f"`{name[:60]}` is no name for a variable.")
    if "\0" in value:
        raise VariableRefused(f"The value of {name} contains a NUL character, which no process can be given.")
    if len(value.encode()) > VARIABLE_BYTES:
        raise VariableRefused(f"The value of {name} is longer than 64 KiB.")


def merge(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the patch applied: objects merge, null removes, everything else replaces (RFC 7396)."""
    merged = dict(document)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = merge(_mapping(merged.get(key)) or {}, cast(Mapping[str, Any], value))
        else:
            merged[key] = value
    return merged


def check_document(document: Mapping[str, Any]) -> None:
    """That the document can be kept: no NUL in any text, no endless nesting or number. Errors: `ConfigRefused`."""
    waiting: list[tuple[object, int]] = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEPTH:
            raise ConfigRefused(f"The config is nested deeper than {DEPTH} levels.")
        if isinstance(value, str) and "\0" in value:
            raise ConfigRefused("The config contains a NUL character, which cannot be kept.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigRefused("The config contains a number that is not finite.")
        if isinstance(value, Mapping):
            parts = cast(Mapping[str, object], value)
            waiting.extend((part, depth + 1) for pair in parts.items() for part in pair)
        elif isinstance(value, list):
            waiting.extend((part, depth + 1) for part in cast(list[object], value))


def settings_of(config: Mapping[str, Any], service_id: UUID) -> ServiceSettings:
    """What the config says of a service. Errors: `ConfigRefused`, naming key and expectation."""
    service = _object(_object(config, "services", ""), str(service_id), "services")
    deploy = _object(service, "deploy", "")
    build = _object(service, "build", "")
    _one_of(build, "builder", BUILDERS, "AUTO", "build")
    source = _object(service, "source", "") if service.get("source") is not None else None
    return ServiceSettings(source, build, deploy_settings(deploy, service), variables_of(config, service))


def services_in(config: Mapping[str, Any]) -> list[str]:
    """The service ids a config speaks of. Errors: `ConfigRefused`."""
    return list(_object(config, "services", ""))


def variables_of(config: Mapping[str, Any], service: Mapping[str, Any]) -> dict[str, UUID]:
    """Name → secret version: shared variables of the environment, overridden by the service's own."""
    found: dict[str, UUID] = {}
    for table in (_object(config, "sharedVariables", ""), _object(service, "variables", "")):
        for name, entry in table.items():
            version = (_mapping(entry) or {}).get("secretVersion")
            identity = parse_id(version) if isinstance(version, str) else None
            if identity is None:
                raise ConfigRefused(
                    f"The variable {name} must be set through the variables door, which keeps its value apart."
                )
            found[name] = identity
    return found


def deploy_settings(deploy: Mapping[str, Any], service: Mapping[str, Any]) -> DeploySettings:
    """`deploy.*` with Railway's keys and defaults; unknown keys are ignored, as Railway does."""
    limits = _object(_object(deploy, "limitOverride", "deploy"), "containers", "deploy.limitOverride")
    path = _text(deploy, "healthcheckPath")
    if path is not None and not path.startswith("/"):
        raise ConfigRefused("`deploy.healthcheckPath` must begin with `/`.")
    return DeploySettings(
        start_command=_text(deploy, "startCommand"),
        pre_deploy_command=_command(deploy, "preDeployCommand"),
        pre_deploy_timeout=_number(deploy, "preDeployTimeoutSeconds", 600, 1, 86400),
        replicas=_whole(deploy, "numReplicas", 1, 1, 100),
        healthcheck_path=path,
        healthcheck_type=_one_of(deploy, "healthcheckType", HEALTHCHECK_TYPES, "AUTO", "deploy"),
        healthcheck_timeout=_number(deploy, "healthcheckTimeout", 300, 1, 3600),
        start_period=_number(deploy, "startPeriodSeconds", 0, 0, 3600),
        restart_policy=_one_of(deploy, "restartPolicyType", RESTART_POLICIES, "ON_FAILURE", "deploy"),
        max_restarts=_whole(deploy, "restartPolicyMaxRetries", 10, 0, 1000),
        overlap=_number(deploy, "overlapSeconds", 0, 0, 3600),
        draining=_number(deploy, "drainingSeconds", 10, 0, 3600),
        connection_drain=_number(deploy, "connectionDrainSeconds", 30, 0, 3600),
        cpu=_optional_number(limits, "cpu", 0.01, 1024),
        memory_bytes=_optional_int(limits, "memoryBytes", 4 << 20, 1 << 46),
        port=_port(deploy, service),
        protocol=_one_of(deploy, "applicationProtocol", PROTOCOLS, "http1", "deploy"),
    )


def _port(deploy: Mapping[str, Any], service: Mapping[str, Any]) -> int | None:
    """The target port: set on a domain, or for the whole service."""
    domains = _object(_object(service, "networking", ""), "serviceDomains", "networking")
    for domain in map(_mapping, domains.values()):
        if domain and domain.get("port") is not None:
            return _whole(domain, "port", 0, 1, 65535)
    return _optional_int(deploy, "port", 1, 65535)


def _object(parent: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    found = _mapping(value)
    if found is None:
        raise ConfigRefused(f"`{where + '.' if where else ''}{key}` must be an object.")
    return found


def _mapping(value: object) -> Mapping[str, Any] | None:
    """The value where it is a JSON object."""
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else None


def _text(parent: Mapping[str, Any], key: str) -> str | None:
    value = parent.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or "\0" in value:
        raise ConfigRefused(f"`deploy.{key}` must be text.")
    return value


def _command(parent: Mapping[str, Any], key: str) -> str | None:
    value = parent.get(key)
    parts = cast(list[object], value) if isinstance(value, list) else []
    if parts and all(isinstance(part, str) for part in parts):
        return " && ".join(map(str, parts))
    return _text(parent, key)


def _number(parent: Mapping[str, Any], key: str, default: float, least: float, most: float) -> float:
    found = _optional_number(parent, key, least, most)
    return default if found is None else found


def _whole(parent: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
    found = _optional_int(parent, key, least, most)
    return default if found is None else found


def _optional_int(parent: Mapping[str, Any], key: str, least: int, most: int) -> int | None:
    found = _optional_number(parent, key, least, most)
    if found is None:
        return None
    if not found.is_integer():
        raise ConfigRefused(f"`{key}` must be a whole number, not {found:g}.")
    return int(found)


def _optional_number(parent: Mapping[str, Any], key: str, least: float, most: float) -> float | None:
    value = parent.get(key)
    if value is None:
        return None
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if not least <= number <= most:
        raise ConfigRefused(f"`{key}` must be a number from {least:g} to {most:g}, not {value!r}.")
    return number


def _one_of(parent: Mapping[str, Any], key: str, choices: tuple[str, ...], default: str, where: str) -> str:
    value = parent.get(key)
    if value is None:
        return default
    if value not in choices:
        raise ConfigRefused(f"`{where}.{key}` must be one of {', '.join(choices)}, not {value!r}.")
    return str(value)
