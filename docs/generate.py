"""Writes the reference pages that follow from the code: `python docs/generate.py`. (`cli.md` is written by the command line.)"""

import argparse
import ast
import importlib
import inspect
import pkgutil
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import trackside
from trackside import config
from trackside.__main__ import create_parser
from trackside.command import contract
from trackside.entry.rest.errors import DOOR_ERRORS, STATUS
from trackside.kit.errors import TracksideError
from trackside.rooms.access.model import ROLES, Permission, Role
from trackside.rooms.projects.model import SETTINGS, Setting, SettingKind

PAGES = Path(__file__).parent / "reference"
NOTE = "Written from the code by `python docs/generate.py`; don't edit."


def pages() -> dict[str, str]:
    """Every page: file name → Markdown."""
    return {
        "settings.md": settings_page(),
        "errors.md": errors_page(),
        "events.md": events_page(),
        "permissions.md": permissions_page(),
        "environment-config.md": config_page(),
        "rest.md": rest_page(),
        "host.md": host_page(),
    }


def page(title: str, *parts: str) -> str:
    """A page with its title and the note that it is generated."""
    return "\n\n".join([f"# {title}", NOTE, *(part.strip() for part in parts)]) + "\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# --- commands of the machine ---


def host_page() -> str:
    """`trackside server …` and `trackside admin …`, as they say it themselves."""
    sections = [section for name, parser in host_commands(create_parser(), "trackside") for section in command_of(name, parser)]
    return page(
        "Commands of the machine",
        "They run on the machine of the platform, in a checkout as `bin/trackside`, and mostly as root. With `--json` they say one JSON "
        "document on stdout, and what they do along the way on stderr. They end with 0 where all is well, with 1 where something is "
        "wrong, with 2 where the command can't be read.",
        *sections,
    )


def host_commands(parser: ArgumentParser, name: str) -> Iterator[tuple[str, ArgumentParser]]:
    """Every command of `server` and `admin` that does something, with its name."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield name, parser
    for action in below:
        for word, command in action.choices.items():
            if name != "trackside" or word in ("server", "admin"):
                yield from host_commands(command, f"{name} {word}")


def command_of(name: str, parser: ArgumentParser) -> Iterator[str]:
    described = (parser.description or "").strip().rstrip(".")
    yield f"## `{name}`"
    yield f"{described[:1].upper()}{described[1:]}."
    rows = [
        (f"`{', '.join(action.option_strings) or action.dest.upper()}`", (action.help or "").replace("%%", "%"))
        for action in parser._actions
        if action.help != argparse.SUPPRESS and action.dest != "help"
    ]
    if rows:
        yield table(("option", "meaning"), rows)


# --- settings ---


def settings_page() -> str:
    rows = [
        (f"`TRACKSIDE_{name.upper()}`", f"`{kind}`", default, text) for name, kind, default, text in settings_fields()
    ]
    return page(
        "Settings",
        "A setting comes from the environment of the platform's processes, else from `settings.json` in the state directory (its name "
        "in small letters, without `TRACKSIDE_`), else from its default. Set it in that file to keep it, or in the environment of "
        "`trackside server start` for as long as the platform runs; ports, networks, the engine, certificate "
        "authorities and mirrors are kept by the start that names them. Sizes are bytes, times seconds; lists are JSON.",
        table(("variable", "type", "default", "meaning"), rows),
    )


def settings_fields() -> Iterator[tuple[str, str, str, str]]:
    """(name, type, default, docstring) of each setting, in order; a field without docstring has an empty one."""
    tree = ast.parse(inspect.getsource(config))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    for node, following in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        yield node.target.id, ast.unparse(node.annotation), _default(node.target.id), _text(following)


def _text(node: ast.stmt | None) -> str:
    """The docstring that stands below a field."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return " ".join(str(node.value.value).split())
    return ""


def _default(name: str) -> str:
    default = config.Settings.model_fields[name].default
    if name == "home":
        return "`.trackside`"
    return f"`{default}`" if default not in ("", None, ()) else "–"


# --- errors ---


def errors_page() -> str:
    rows = [
        (f"`{error.code}`", str(error.kind), error.hint)
        for error in sorted(known_errors(), key=lambda error: error.code)
    ]
    doors = [
        (f"`{error.code}`", error.kind, str(error.status), error.sentence, error.hint)
        for error in sorted(DOOR_ERRORS, key=lambda error: error.code)
    ]
    return page(
        "Errors",
        "Every error has a stable code, a kind, one sentence that tells what happened, and a hint that mends it. REST tells them as "
        '`{"error": {"code", "kind", "message", "hint", "request_id"}}`; the kind decides the status: '
        + ", ".join(f"{kind} {status}" for kind, status in STATUS.items())
        + ". The command line's exit codes follow from the kind too (see [Command line](cli.md)).",
        table(("code", "kind", "hint"), rows),
        "## Of the REST door itself",
        table(("code", "kind", "status", "message", "hint"), doors),
    )


def known_errors() -> set[type[TracksideError]]:
    """Every error of the server that has a code of its own."""
    for _ in modules():
        pass
    waiting, found = [TracksideError], set[type[TracksideError]]()
    while waiting:
        for error in waiting.pop().__subclasses__():
            waiting.append(error)
            if error.__module__.startswith("trackside."):
                found.add(error)
    return found


def modules() -> Iterator[ModuleType]:
    """Every module of the server."""
    for found in pkgutil.walk_packages(trackside.__path__, "trackside."):
        if not found.name.endswith((".__main__", ".env")) and ".versions" not in found.name:
            yield importlib.import_module(found.name)


# --- events and permissions ---


def events_page() -> str:
    parts: list[str] = []
    for kind in contract.event_types():
        hints = get_type_hints(kind)
        rows = [(f"`{field.name}`", f"`{_type_name(hints[field.name])}`") for field in fields(kind)]
        head = f"## {kind.__name__}\n\n{contract.described(kind)}\n\nStream `{kind.stream}`, version {kind.version}."
        parts.append(head.replace("\n\n\n\n", "\n\n") + "\n\n" + table(("field", "type"), rows))
    return page(
        "Events",
        "Every change of state is an immutable fact, appended to the stream of its workspace or of the platform, with a number, an id, a "
        "time, the actor, and a hash that chains it to the one before. No event holds the value of a secret.",
        *parts,
    )


def _type_name(hint: Any) -> str:
    is_plain = isinstance(hint, type) and not getattr(hint, "__args__", None)
    return hint.__name__ if is_plain else str(hint).replace("uuid.", "").replace("typing.", "")


def permissions_page() -> str:
    head = ("permission", *map(str, Role))
    rows = [
        (f"`{permission}`", *("yes" if permission in ROLES[role] else "" for role in Role)) for permission in Permission
    ]
    return page(
        "Permissions",
        "A role in a workspace grants these. What you may not see is reported as missing (404), what you see but may not do as denied "
        "(403). API tokens made by `trackside server token` act as `owner`.",
        table(head, rows),
    )


# --- environment config ---


def config_page() -> str:
    return page(
        "Environment config",
        "One JSON document per environment says what is wanted. Each edit is a patch (objects merge, `null` removes, everything else "
        "replaces) that becomes a version: `PATCH /v1/environments/{id}/config`. A deployment is made from one version and never changes. "
        "Keys that are not listed are kept and ignored.",
        '```json\n{"services": {"<service id>": {"source": {}, "build": {}, "deploy": {}, "networking": {}, "variables": {}}},\n'
        ' "sharedVariables": {}}\n```',
        "`trackside config` reads and changes the settings of one service, in dotted keys: `deploy.port`.",
        *(text for part in ("deploy", "build") for text in (f"## `{part}`", _settings_table(part))),
        "## `source`",
        "One of `{kind: git, url, reference, directory}`, `{kind: upload, upload_id, directory}`, `{kind: image, reference}`. "
        "Access tokens and deploy keys are given with a deployment and kept apart; the config holds their ids.",
        "## `networking`",
        "`serviceDomains.<name>.port`: the port a domain leads to; goes before `deploy.port`.",
        "## `variables` and `sharedVariables`",
        "Name → `{secretVersion: <id>}`. Set them through `PATCH /v1/service-instances/{id}/variables` or `trackside variables set`, "
        "which keep the values apart. A service's own variable goes before a shared one of that name.",
    )


def _settings_table(part: str) -> str:
    rows = [
        (
            f"`{key.removeprefix(f'{part}.')}`",
            str(setting.kind),
            _told(setting.default),
            _allowed(setting),
            setting.meaning,
        )
        for key, setting in SETTINGS.items()
        if key.startswith(f"{part}.")
    ]
    return table(("key", "type", "default", "allowed", "meaning"), rows)


def _told(default: Any) -> str:
    return "–" if default is None else f"`{default}`" if isinstance(default, str) else f"{default}"


def _allowed(setting: Setting) -> str:
    if setting.kind in (SettingKind.NUMBER, SettingKind.WHOLE):
        return f"{setting.least:,} – {setting.most:,}"
    return ", ".join(f"`{choice}`" for choice in setting.choices)


# --- REST ---


def rest_page() -> str:
    document = contract.openapi()
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    parts = [f"## {group.capitalize()}\n\n" + "\n\n".join(groups[group]) for group in sorted(groups)]
    return page(
        "REST API",
        "JSON in and out, below `/v1`; times are RFC 3339 in UTC. Sign in with `Authorization: Bearer <token>`. Every answer carries "
        "`Trackside-Version` and `X-Request-Id`. The complete description, with every field, is served at `/v1/schema` and kept in "
        "`contract/openapi.json`. Errors: [Errors](errors.md).",
        *parts,
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = [p for p in operation.get("parameters", []) if p["in"] == "query"]
    lines = [f"### `{method.upper()} {path}`", operation["description"]]
    if parameters:
        lines.append("Query: " + ", ".join(f"`{p['name']}`" for p in parameters) + ".")
    if body := operation.get("requestBody"):
        lines.append(f"Body: {_shape(next(iter(body['content'].items())))}.")
    done = next(code for code in operation["responses"] if code.startswith("2"))
    content = operation["responses"][done].get("content")
    lines.append(f"Answer: {done}" + (f", {_shape(next(iter(content.items())))}." if content else "."))
    return "\n\n".join(lines)


def _shape(content: tuple[str, dict[str, Any]]) -> str:
    name = content[1].get("schema", {}).get("$ref", "").rpartition("/")[2]
    return f"`{name}`" if name else f"`{content[0]}`"


def main() -> int:
    """Write all pages."""
    for name, text in pages().items():
        (PAGES / name).write_text(text)
        sys.stdout.write(f"wrote {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
