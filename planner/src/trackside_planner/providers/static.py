"""Static files, served by Caddy: right content types, ETags, compression, no directory listing, no hidden files."""

import json
import posixpath
import re

from trackside_planner.catalogue import CADDY, CADDY_WHEEL, DEFAULT_BASE
from trackside_planner.errors import PlanError
from trackside_planner.model import Copy, Decision, Draft, PlanSettings, Stage, Step
from trackside_planner.procfile import PROCFILE
from trackside_planner.steps import APP, TOOLS, base_stage, wheel_tools_stage, write_file
from trackside_planner.tree import Tree

STATICFILE = "Staticfile"
ROOTS = ("", "public", "dist")
START_COMMAND = "/usr/local/bin/caddy run --config /etc/caddy/Caddyfile --adapter caddyfile"
SITE = f"{APP}/site"


def detect(tree: Tree) -> str | None:
    if tree.text(STATICFILE) is not None:
        return STATICFILE
    return next((path for root in ROOTS if tree.text(path := posixpath.join(root, "index.html")) is not None), None)


def draft(tree: Tree, settings: PlanSettings) -> Draft:
    root, decision = _choose_root(tree)
    files = Copy((root or ".",), f"{SITE}/", is_owned=True)
    return Draft(
        provider="static",
        base_image=DEFAULT_BASE,
        versions={"caddy": CADDY},
        stages=(caddy_stage(), base_stage(DEFAULT_BASE), Stage("app", "base", (*caddy_steps(False), files))),
        decisions=(decision,),
        start_command=START_COMMAND,
    )


def caddy_stage() -> Stage:
    return wheel_tools_stage("caddy", DEFAULT_BASE, f"{CADDY_WHEEL}=={CADDY}")


def caddy_steps(falls_back_to_index: bool) -> tuple[Step, ...]:
    """The file server and its configuration. `falls_back_to_index`: unknown paths get `/index.html` (single-page apps)."""
    return (
        Copy((f"{TOOLS}/bin/caddy",), "/usr/local/bin/caddy", stage="caddy"),
        write_file("/etc/caddy/Caddyfile", caddyfile(falls_back_to_index)),
    )


def caddyfile(falls_back_to_index: bool) -> tuple[str, ...]:
    fallback = ("\ttry_files {path} {path}/index.html /index.html",) if falls_back_to_index else ()
    return (
        "{",
        "\tadmin off",
        "\tpersist_config off",
        "\tauto_https off",
        "\tgrace_period 30s",
        "\tlog {",
        "\t\tlevel WARN",
        "\t}",
        "}",
        ":{$PORT:8080} {",
        f"\troot * {SITE}",
        "\tencode zstd gzip",
        "\t@hidden {",
        f"\t\tpath */.* /{STATICFILE} /{PROCFILE}",
        "\t\tnot path /.well-known/*",
        "\t}",
        "\terror @hidden 404",
        *fallback,
        "\tfile_server",
        "\thandle_errors {",
        "\t\t@page file /404.html",
        "\t\thandle @page {",
        "\t\t\trewrite * /404.html",
        "\t\t\tfile_server {",
        "\t\t\t\tstatus {err.status_code}",
        "\t\t\t}",
        "\t\t}",
        '\t\trespond "{err.status_code} {err.status_text}"',
        "\t}",
        "}",
    )


def _choose_root(tree: Tree) -> tuple[str, Decision]:
    staticfile = tree.text(STATICFILE)
    if staticfile is not None and (root := _root_in(staticfile)) is not None:
        if not any(path.startswith(f"{root}/") for path in tree.files()) and root:
            raise PlanError(f"The Staticfile names the directory `{root}`, which is not in the source.")
        return root, Decision("directory served", root or ".", "named in the Staticfile", STATICFILE)
    found = [root for root in ROOTS if tree.text(posixpath.join(root, "index.html")) is not None]
    root = found[0] if found else ""
    return root, Decision(
        "directory served",
        root or ".",
        "the first that has an index.html",
        posixpath.join(root, "index.html"),
        tuple(found[1:]),
    )


def _root_in(staticfile: str) -> str | None:
    """`root: build` of a Staticfile. A path out of the tree is no root."""
    match = re.search(r"^root:\s*(.+?)\s*$", staticfile, re.MULTILINE)
    if match is None:
        return None
    raw = match[1].strip("\"'")
    root = posixpath.normpath(raw)
    if root.startswith(("..", "/")):
        raise PlanError(f"The Staticfile's root {json.dumps(raw)} leads out of the source.")
    return "" if root == "." else root
