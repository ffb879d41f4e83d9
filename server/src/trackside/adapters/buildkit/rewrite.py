"""What is changed in a Dockerfile before it is built, so that builds work in company networks and stay apart. Pure.

Each RUN gets the certificates and mirror settings as secret mounts and reads them first; nothing of that stays in the image:
the mounts live under `/dev`, whose content is never part of a layer, and no build argument carries a value. Every cache
mount gets the workspace into its id, so that no tenant sees or poisons another's cache.
"""

import csv
import io
import json
import re
from dataclasses import dataclass, field

from trackside.adapters.buildkit.debian import debian_suite
from trackside.adapters.buildkit.instructions import (
    Instruction,
    exec_form,
    mount_fields,
    parse_from,
    read_instructions,
    split_flags,
    write_flag,
)
from trackside.adapters.buildkit.network import (
    APT_CONFIG_FILE,
    APT_SECRET,
    CA_FILE,
    CA_SECRET,
    ENVIRONMENT_FILE,
    ENVIRONMENT_SECRET,
    LISTS,
    MIRRORED_APT_SECRET,
    SOURCES_FILE,
    apt_sources_secret,
)
from trackside.adapters.buildkit.options import CompanyNetwork
from trackside_planner import SHARED_CACHE

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
_FRONTEND = re.compile(r"^\s*#\s*syntax\s*=", re.IGNORECASE)


@dataclass(frozen=True)
class Rewriting:
    """How one build's Dockerfile is changed. `workspace` can't be guessed by others; `keeps_shared_caches`: the text is ours."""

    network: CompanyNetwork
    workspace: str
    keeps_shared_caches: bool


@dataclass
class _Stage:
    """What holds at a point of the Dockerfile: the Debian suite of each stage so far, and whether RUN uses a known shell."""

    suites: dict[str, str | None] = field(default_factory=dict[str, str | None])
    suite: str | None = None
    has_shell: bool = True


def rewrite_dockerfile(dockerfile: str, rewriting: Rewriting) -> str:
    """The Dockerfile to build. Only RUN is changed, and a `# syntax=` line left out."""
    stage = _Stage()
    return "".join(_rewritten(instruction, stage, rewriting) for instruction in read_instructions(dockerfile))


def _rewritten(instruction: Instruction, stage: _Stage, rewriting: Rewriting) -> str:
    if instruction.keyword == "":
        # The engine's own frontend reads the file; another one would have to be fetched, and would see what this text means.
        return "" if _FRONTEND.match(instruction.text) else instruction.text
    if instruction.keyword == "FROM":
        _enter(instruction, stage)
    elif instruction.keyword == "SHELL":
        words = exec_form(instruction.arguments) or [""]
        stage.has_shell = words[0].rpartition("/")[2] in _SHELLS
    elif instruction.keyword == "RUN":
        return _rewritten_run(instruction, stage, rewriting)
    return instruction.text + instruction.heredocs


def _enter(instruction: Instruction, stage: _Stage) -> None:
    parsed = parse_from(instruction, {})
    stage.suite = stage.suites.get(parsed.image.lower(), debian_suite(parsed.image))
    stage.has_shell = True
    if parsed.name:
        stage.suites[parsed.name.lower()] = stage.suite


def _rewritten_run(instruction: Instruction, stage: _Stage, rewriting: Rewriting) -> str:
    flags, body = split_flags(instruction.arguments, instruction.escape)
    flags = [_own_cache(flag, rewriting) for flag in flags]
    mounts = _mounts(stage.suite, rewriting.network) if stage.has_shell else []
    heredocs = instruction.heredocs
    if mounts:
        mounts += _package_lists(flags, stage.suite, rewriting)
        body, heredocs = _with_environment(body, heredocs)
    words = [*mounts, *(write_flag(flag, instruction.escape) for flag in flags), body]
    return f"RUN {' '.join(words)}\n{heredocs}"


def _mounts(suite: str | None, network: CompanyNetwork) -> list[str]:
    if network.is_empty:
        return []
    mounts = [_secret(ENVIRONMENT_SECRET, ENVIRONMENT_FILE)]
    if network.ca_bundle:
        mounts.append(_secret(CA_SECRET, CA_FILE))
    if network.apt_mirror and suite:
        mounts += [_secret(MIRRORED_APT_SECRET, APT_CONFIG_FILE), _secret(apt_sources_secret(suite), SOURCES_FILE)]
    else:
        mounts.append(_secret(APT_SECRET, APT_CONFIG_FILE))
    return mounts


def _package_lists(flags: list[str], suite: str | None, rewriting: Rewriting) -> list[str]:
    """A cache for apt's lists where a mirror is used: the lists carry its name, and many Dockerfiles leave them lying."""
    if not rewriting.network.apt_mirror or suite is None or any(LISTS in flag for flag in flags):
        return []
    return [f"--mount=type=cache,id={rewriting.workspace}/apt-lists-{suite},target={LISTS},sharing=locked"]


def _secret(name: str, target: str) -> str:
    return f"--mount=type=secret,id={name},target={target},mode=0444"


_READ = f". {ENVIRONMENT_FILE}"


def _with_environment(body: str, heredocs: str) -> tuple[str, str]:
    """The command, reading the environment first; exec form and here-documents keep their meaning."""
    words = exec_form(body)
    if words:
        return _exec_with_environment(words), heredocs
    if re.match(r"<<-?\s*['\"]?[A-Za-z_]\w*['\"]?\s*$", body.strip()):
        is_script = not heredocs.startswith("#!")
        return body, f"{_READ}\n{heredocs}" if is_script else heredocs
    return f"{_READ}; {body.lstrip()}", heredocs


def _exec_with_environment(words: list[str]) -> str:
    is_shell = words[0].rpartition("/")[2] in _SHELLS and len(words) >= 3 and words[1] == "-c"
    if is_shell:
        return json.dumps([words[0], "-c", f"{_READ}; {words[2]}", *words[3:]])
    return json.dumps(["/bin/sh", "-c", f'{_READ}; exec "$@"', "sh", *words])


def _own_cache(flag: str, rewriting: Rewriting) -> str:
    """A cache mount with the workspace in its id; without an id, its target was the id."""
    fields = mount_fields(flag) or []
    values = {name.lower(): value for name, _, value in (field.partition("=") for field in fields)}
    if values.get("type", "").lower() != "cache":
        return flag
    name = values.get("id") or values.get("target") or values.get("dst") or values.get("destination") or ""
    if rewriting.keeps_shared_caches and name.startswith(SHARED_CACHE):
        return flag
    others = [field for field in fields if field.partition("=")[0].lower() != "id"]
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow([*others, f"id={rewriting.workspace}/{name}"])
    return f"--mount={written.getvalue()}"
