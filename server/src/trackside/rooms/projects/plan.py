"""Pure decisions about names, config patches and what a config says of a service."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

from trackside.kit.ids import parse_id
from trackside.kit.paths import flaw_of_path
from trackside.kit.urls import flaw_of_url
from trackside.rooms.projects.errors import ConfigRefused, NameRefused, SecretInUrl, VariableRefused
from trackside.rooms.projects.model import (
    SETTINGS,
    SOURCE_SECRETS,
    DeploySettings,
    ServiceSettings,
    Setting,
    SettingKind,
)

NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
VARIABLE_BYTES = 64 << 10
DEPTH = 32
"""How deep a config may be nested."""
HEALTHCHECK_PATH = re.compile(r"/[!-~]*")


def is_name(name: str) -> bool:
    """Whether the text follows the grammar of names."""
    return bool(NAME.fullmatch(name))


def check_name(name: str, what: str) -> str:
    """The name, where it follows the grammar. Errors: `NameRefused`."""
    if not is_name(name):
        raise NameRefused(f"`{name[:60]}` is no name for {'an' if what[0] in 'aeiou' else 'a'} {what}.")
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
    deploy = deploy_settings(service)
    source = _object(service, "source", "") if service.get("source") is not None else None
    if isinstance(directory := (source or {}).get("directory"), str) and (flaw := flaw_of_path(directory)):
        raise ConfigRefused(f"`source.directory` {flaw}.")
    return ServiceSettings(source, _object(service, "build", ""), deploy, variables_of(config, service))


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


def deploy_settings(service: Mapping[str, Any]) -> DeploySettings:
    """`deploy.*` with Railway's keys and defaults, once every setting was found right; keys we do not know are ignored."""
    found = {key: _setting(service, key) for key in SETTINGS}
    path = found["deploy.healthcheckPath"]
    if path is not None and not HEALTHCHECK_PATH.fullmatch(path):
        raise ConfigRefused(
            "`deploy.healthcheckPath` must begin with `/` and have neither blanks nor other than ASCII characters."
        )
    return DeploySettings(
        start_command=found["deploy.startCommand"],
        pre_deploy_command=found["deploy.preDeployCommand"],
        pre_deploy_timeout=found["deploy.preDeployTimeoutSeconds"],
        replicas=found["deploy.numReplicas"],
        healthcheck_path=path,
        healthcheck_type=found["deploy.healthcheckType"],
        healthcheck_timeout=found["deploy.healthcheckTimeout"],
        start_period=found["deploy.startPeriodSeconds"],
        restart_policy=found["deploy.restartPolicyType"],
        max_restarts=found["deploy.restartPolicyMaxRetries"],
        overlap=found["deploy.overlapSeconds"],
        draining=found["deploy.drainingSeconds"],
        connection_drain=found["deploy.connectionDrainSeconds"],
        cpu=found["deploy.limitOverride.containers.cpu"],
        memory_bytes=found["deploy.limitOverride.containers.memoryBytes"],
        port=_domain_port(service) or found["deploy.port"],
        protocol=found["deploy.applicationProtocol"],
    )


def sources_in(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sources that a config names, as they are written; of deleted services too."""
    services = (_mapping(service) or {} for service in (_mapping(config.get("services")) or {}).values())
    return [source for service in services if (source := _mapping(service.get("source"))) is not None]


def source_secrets(source: Mapping[str, Any] | None) -> dict[str, UUID]:
    """The secret versions that a source names, by key. Errors: `ConfigRefused`."""
    found: dict[str, UUID] = {}
    for key in SOURCE_SECRETS.values():
        value = (source or {}).get(key)
        identity = parse_id(value) if isinstance(value, str) else None
        if identity is None and value is not None:
            raise ConfigRefused(f"`source.{key}` must be an id.")
        if identity is not None:
            found[key] = identity
    return found


def check_sources(patch: Mapping[str, Any]) -> None:
    """That no source of a patch has a URL with a credential in it. Errors: `SecretInUrl`, which does not repeat it."""
    for service in _object(patch, "services", "").values():
        source = _mapping((_mapping(service) or {}).get("source")) or {}
        for key, value in source.items():
            is_url = isinstance(value, str) and (key == "url" or "://" in value)
            if is_url and (flaw := flaw_of_url(value)):
                raise SecretInUrl(f"`source.{key[:60]}` {flaw}.")


def check_patch_of_people(patch: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """That a patch by people names no secret for a source that the source did not have already. Errors: `ConfigRefused`.

    Ids of secret versions can be read by those who may not read values: whoever could put one into a source of his own
    would be sent the value.
    """
    former = _object(before, "services", "")
    for service_id, service in _object(patch, "services", "").items():
        part = _mapping(service) or {}
        wanted = source_secrets(_mapping(part.get("source")))
        kept = source_secrets(_mapping((_mapping(former.get(service_id)) or {}).get("source")))
        if wanted.items() - kept.items():
            raise ConfigRefused("`source`: a token or key is given with a deployment; its id can't be set.")
        if kept and (_mapping(part.get("source")) or {}).get("url") is not None:
            raise ConfigRefused(
                "`source.url`: a source with a token or key is changed by a deployment, which takes both."
            )


def _domain_port(service: Mapping[str, Any]) -> int | None:
    """The target port that is set on a domain; it goes before that of the service."""
    domains = _object(_object(service, "networking", ""), "serviceDomains", "networking")
    for name, domain in domains.items():
        port = (_mapping(domain) or {}).get("port")
        if port is not None:
            return _whole(SETTINGS["deploy.port"], f"networking.serviceDomains.{name}.port", port)
    return None


def _setting(service: Mapping[str, Any], key: str) -> Any:
    """What a service's part of the config says of a setting; its default where it says nothing. Errors: `ConfigRefused`."""
    *path, name = key.split(".")
    parent = service
    for depth, part in enumerate(path):
        parent = _object(parent, part, ".".join(path[:depth]))
    value, setting = parent.get(name), SETTINGS[key]
    return setting.default if value is None else READERS[setting.kind](setting, key, value)


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


def _text(_: Setting, key: str, value: object) -> str | None:
    """A text; None where it is blank."""
    if not isinstance(value, str) or "\0" in value:
        raise ConfigRefused(f"`{key}` must be text.")
    return value if value.strip() else None


def _path(setting: Setting, key: str, value: object) -> str | None:
    found = _text(setting, key, value)
    if found is not None and (flaw := flaw_of_path(found)):
        raise ConfigRefused(f"`{key}` {flaw}.")
    return found


def _command(setting: Setting, key: str, value: object) -> str | None:
    if not isinstance(value, list):
        return _text(setting, key, value)
    parts = cast(list[object], value)
    if not parts or not all(isinstance(part, str) for part in parts):
        raise ConfigRefused(f"`{key}` must be text, or a list of texts.")
    return " && ".join(map(str, parts))


def _texts(_: Setting, key: str, value: object) -> Mapping[str, Any]:
    found = _mapping(value)
    if found is None or not all(isinstance(part, str) for part in found.values()):
        raise ConfigRefused(f"`{key}` must be an object with a text for each name.")
    return found


def _whole(setting: Setting, key: str, value: object) -> int:
    found = _number(setting, key, value)
    if not found.is_integer():
        raise ConfigRefused(f"`{key}` must be a whole number, not {found:g}.")
    return int(found)


def _number(setting: Setting, key: str, value: object) -> float:
    try:
        number = float(cast(Any, value)) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not setting.least <= number <= setting.most:
        raise ConfigRefused(
            f"`{key}` must be a number from {setting.least:.15g} to {setting.most:.15g}, not {value!r}."
        )
    return number


def _choice(setting: Setting, key: str, value: object) -> str:
    if value not in setting.choices:
        raise ConfigRefused(f"`{key}` must be one of {', '.join(setting.choices)}, not {value!r}.")
    return str(value)


READERS: dict[SettingKind, Callable[[Setting, str, object], Any]] = {
    SettingKind.TEXT: _text,
    SettingKind.PATH: _path,
    SettingKind.COMMAND: _command,
    SettingKind.CHOICE: _choice,
    SettingKind.NUMBER: _number,
    SettingKind.WHOLE: _whole,
    SettingKind.TEXTS: _texts,
}
