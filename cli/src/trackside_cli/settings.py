"""The settings of a service: which there are, as the platform describes them, and what its config says of each. Pure.

A setting is named by its dotted key in the service's part of the environment config: `deploy.healthcheckPath`. The
platform's own OpenAPI description says which there are, so that no list is kept here.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from trackside_cli.errors import UsageError

Config = Mapping[str, Any]
MOST_MEANT = 3
"""How many settings an error names as what may have been meant."""


class UnknownSetting(UsageError):
    code = "cli.unknown_setting"


@dataclass(frozen=True)
class Setting:
    """A setting as the platform describes it. `takes_names`: it holds texts under names of the user's own."""

    key: str
    types: tuple[str, ...]
    default: Any = None
    takes_names: bool = False


class Found(TypedDict):
    """What holds: `value` is the default where nothing is set; `is_used` is false for a key the platform ignores."""

    key: str
    value: Any
    is_default: bool
    is_used: bool


def described(schema: Config, prefix: str = "") -> Iterator[Setting]:
    """The settings out of the JSON Schema of a service's part of the config."""
    for name, part in cast(Config, schema["properties"]).items():
        key = f"{prefix}{name}"
        if "properties" in part:
            yield from described(part, f"{key}.")
        else:
            types: Any = part.get("type", ())
            names = cast(Config, part.get("additionalProperties") or {})
            yield Setting(
                key,
                (types,) if isinstance(types, str) else tuple(types),
                part.get("default"),
                names.get("type") == "string",
            )


# --- reading ---


def found_in(config: Config, known: Sequence[Setting]) -> list[Found]:
    """Every setting with what holds; after them what is set besides and not used."""
    rows = [row for setting in known for row in _rows(config, setting)]
    groups = {setting.key.partition(".")[0] for setting in known}
    leaves = [
        key for group in sorted(groups) for key in _leaves(config.get(group), group) if _setting_of(key, known) is None
    ]
    return [
        *rows,
        *(Found(key=key, value=value_at(config, key.split(".")), is_default=False, is_used=False) for key in leaves),
    ]


def _rows(config: Config, setting: Setting) -> Iterator[Found]:
    path = setting.key.split(".")
    value = value_at(config, path)
    if setting.takes_names and isinstance(value, Mapping) and value:
        for name, text in cast(Config, value).items():
            yield Found(key=f"{setting.key}.{name}", value=text, is_default=False, is_used=True)
    else:
        is_default = value is None
        yield Found(
            key=setting.key, value=setting.default if is_default else value, is_default=is_default, is_used=True
        )


def _leaves(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, part in cast(Config, value).items():
            yield from _leaves(part, f"{key}.{name}")
    elif value is not None:
        yield key


def value_at(config: Config, path: Sequence[str]) -> Any:
    """What the config says there; None where it says nothing."""
    value: Any = config
    for part in path:
        value = cast(Config, value).get(part) if isinstance(value, Mapping) else None
    return value


def chosen(rows: Sequence[Found], keys: Sequence[str], known: Sequence[Setting]) -> list[Found]:
    """The rows of these keys and of those below them; all where none is named. Raises `UnknownSetting`."""
    for key in keys:
        if not any(_is_below(row["key"], key) for row in rows):
            path_of(key, known)  # of a name that is not set; else an error
    return [row for row in rows if not keys or any(_is_below(row["key"], key) for key in keys)]


def _is_below(key: str, of: str) -> bool:
    return key == of or key.startswith(f"{of}.")


# --- changing ---


def path_of(key: str, known: Sequence[Setting], config: Config | None = None) -> list[str]:
    """The way to a setting in the config. Raises `UnknownSetting`, unless the config has the key all the same."""
    setting = _setting_of(key, known)
    if setting is None:
        if config is not None and value_at(config, key.split(".")) is not None:
            return key.split(".")
        raise UnknownSetting(f"There is no setting “{key}”.", hint=_choices(key, known))
    path = setting.key.split(".")
    return path if key == setting.key else [*path, key.removeprefix(f"{setting.key}.")]


def _setting_of(key: str, known: Sequence[Setting]) -> Setting | None:
    """The setting that the key names, or of which it names a part."""
    for setting in known:
        is_part = key.startswith(f"{setting.key}.") and len(key) > len(setting.key) + 1
        if key == setting.key or (is_part and setting.takes_names):
            return setting
    return None


def _choices(key: str, known: Sequence[Setting]) -> str:
    """The settings that were most likely meant, and where all of them are."""
    import difflib  # takes time: only for an error

    names = {text: setting.key for setting in known for text in (setting.key.lower(), _ending(setting.key))}
    close = [
        *difflib.get_close_matches(key.lower(), names, n=MOST_MEANT, cutoff=0.75),
        *difflib.get_close_matches(_ending(key), names, n=MOST_MEANT),
    ]
    meant = [f"`{one}`" for one in list(dict.fromkeys(names[text] for text in close))[:MOST_MEANT]]
    question = f"Did you mean {' or '.join(meant)}? " if meant else ""
    return f"{question}`trackside config get` lists all."


def _ending(key: str) -> str:
    return key.rpartition(".")[2].lower()


def assignment(text: str, known: Sequence[Setting]) -> tuple[list[str], Any]:
    """`KEY=VALUE` as the way to the setting and its value. Raises `UsageError`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"“{key}” has no value.", hint="Write KEY=VALUE; `trackside config unset KEY` removes one.")
    path = path_of(key, known)
    setting = _setting_of(key, known)
    is_text = setting is not None and (setting.types == ("string",) or key != setting.key)
    return path, parsed(_unicode(key, value), is_text=is_text)


def _unicode(key: str, value: str) -> str:
    """The value, which an argument that is no UTF-8 can't be."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"The value of {key} is not UTF-8 text.", hint="Check it for odd bytes.") from None
    return value


def parsed(text: str, *, is_text: bool) -> Any:
    """The value as JSON where it is that, else the text; where only text is possible, JSON of other kinds is text too."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    is_endless = isinstance(value, float) and not math.isfinite(value)
    return text if is_endless or (is_text and value is not None and not isinstance(value, str)) else value


def _refuse_constant(name: str) -> None:
    """`NaN` and `Infinity` are no JSON, though the parser knows them."""
    raise ValueError(name)


def patch_of(changes: Sequence[tuple[list[str], Any]]) -> dict[str, Any]:
    """The changes as one patch. Raises `UsageError` where two of them are about the same."""
    patch: dict[str, Any] = {}
    for path, value in changes:
        group = patch
        for part in path[:-1]:
            below: object = group.setdefault(part, {})
            if not isinstance(below, dict):
                raise _twice(path)
            group = cast(dict[str, Any], below)
        if path[-1] in group:
            raise _twice(path)
        group[path[-1]] = value
    return patch


def _twice(path: Sequence[str]) -> UsageError:
    return UsageError(f"“{'.'.join(path)}” is given twice.", hint="Give each key one value.")
