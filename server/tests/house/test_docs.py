"""What the documentation says exists: links and anchors, commands and flags, recipes, settings, config keys, error codes."""

import contextlib
import io
import json
import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer.main

from trackside.adapters.proxy import pages
from trackside.command import admin, server
from trackside.config import Settings
from trackside.rooms.deployments.plan import workload
from trackside_cli.main import app

CHECKOUT = Path(__file__).parents[3]
DOCS = CHECKOUT / "docs"
ROOT_PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "changes/README.md")
PAGES = sorted([*(CHECKOUT / name for name in ROOT_PAGES), *DOCS.rglob("*.md")])
WRITTEN = [page for page in PAGES if page.parent.name not in ("reference", "decisions")]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<'(\w+)'\n.*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
COMMAND = re.compile(r"(?:^|[\s\"'(/])(trackside|make) ([^|;&)`…]*)")  # up to what ends a command in a shell
ELSEWHERE = {"TRACKSIDE_API_URL", "TRACKSIDE_TOKEN"}  # of the command line, not of the server


def _name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


def _prose(text: str) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", text)


def _anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", _prose(text), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def _shell(text: str) -> Iterator[str]:
    """Every line that a reader may type: of shell blocks (without what they write into files), and code in the text."""
    for language, block in FENCE.findall(text):
        if language == "sh":
            yield from HEREDOC.sub("", block).replace("\\\n", " ").splitlines()
    yield from CODE.findall(_prose(text))


def _commands(page: Path, program: str) -> list[list[str]]:
    """The arguments of each call of a program on a page; a substitution is a call of its own."""
    lines = [line.split(" #")[0] for line in _shell(page.read_text())]
    inner = [substituted for line in lines for substituted in SUBSTITUTION.findall(line)]
    calls = [*(SUBSTITUTION.sub("X", line) for line in lines), *inner]
    return [_words(match[2]) for call in calls for match in COMMAND.finditer(call) if match[1] == program]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # cut out of the middle of something quoted
        return text.replace('"', " ").replace("'", " ").split()


def _fault_of(arguments: list[str]) -> str | None:
    """What is wrong with a call of the command line; None where it could be typed like this."""
    if arguments[:1] in (["server"], ["admin"]):
        return _fault_of_host(arguments)
    command: Any = typer.main.get_command(app)
    words = iter(arguments)
    for word in words:
        if word.startswith("-"):
            flag = word.split("=")[0]
            if flag not in {"--help"} | {option for one in command.params for option in one.opts}:
                return f"{command.name} has no flag {flag}"
        elif below := getattr(command, "commands", None):
            if word not in below:
                return f"there is no command {word}"
            command = below[word]
    return None


def _fault_of_host(arguments: list[str]) -> str | None:
    parser = ArgumentParser("trackside")
    commands = parser.add_subparsers(required=True)
    server.add_commands(commands.add_parser("server"))
    admin.add_commands(commands.add_parser("admin"))
    is_only_named = not any(word.startswith("-") for word in arguments)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            parser.parse_args([*arguments, "--help"] if is_only_named else arguments)
        except SystemExit as end:
            return said.getvalue().strip().splitlines()[-1] if end.code else None
    return None


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    broken: list[str] = []
    for target in LINK.findall(_prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        if not leads_to.exists() or (anchor and anchor not in _anchors(leads_to.read_text())):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_and_flag_exists(page: Path) -> None:
    faults = {" ".join(arguments): _fault_of(arguments) for arguments in _commands(page, "trackside")}
    assert {text: fault for text, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_recipe_exists(page: Path) -> None:
    recipes = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {arguments[0] for arguments in _commands(page, "make") if arguments}
    assert named <= recipes


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_setting_is_in_the_settings_reference(page: Path) -> None:
    listed = set(re.findall(r"^\| `(TRACKSIDE_\w+)`", (DOCS / "reference/settings.md").read_text(), re.MULTILINE))
    assert listed == {f"TRACKSIDE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bTRACKSIDE_\w+", page.read_text())) <= listed | ELSEWHERE


@pytest.mark.parametrize("page", WRITTEN, ids=_name)
def test_json_is_valid_and_its_keys_are_known(page: Path) -> None:
    reference = (DOCS / "reference/environment-config.md").read_text()
    known = {key for cell in re.findall(r"^\| `([\w.]+)`", reference, re.MULTILINE) for key in cell.split(".")}
    for language, block in FENCE.findall(page.read_text()):
        if language != "json":
            continue
        document = json.loads(block if block.startswith("{") else f"{{{block}}}")
        for part in ("deploy", "build"):
            assert set(document.get(part, {})) <= known
        if not block.startswith("{"):
            assert set(document) <= set(Settings.model_fields)


@pytest.mark.parametrize("page", WRITTEN, ids=_name)
def test_every_provided_variable_is_one_that_apps_get(page: Path) -> None:
    provided = set(re.findall(r'"(RAILWAY_\w+)"', Path(workload.__file__).read_text()))
    assert set(re.findall(r"\bRAILWAY_[A-Z_]+\b(?<!_)", page.read_text())) <= provided


def test_the_table_of_company_settings_names_each_setting_twice() -> None:
    rows = re.findall(
        r"^\| `TRACKSIDE_(\w+)` \| `(\w+)` \|", (DOCS / "how-to/company-network.md").read_text(), re.MULTILINE
    )
    assert rows
    assert [variable.lower() for variable, _ in rows] == [key for _, key in rows]


def test_every_page_of_the_edge_is_explained_with_its_status() -> None:
    told = re.findall(
        r"^\| `(edge\.\w+)` \| (\d+) \|", (DOCS / "how-to/when-something-is-wrong.md").read_text(), re.MULTILINE
    )
    answers = [pages.MISSING, pages.LOOP, *pages.PAGES.values(), *pages.FAILURES]
    assert {(code, int(status)) for code, status in told} == {(answer.code, answer.status) for answer in answers}


def test_the_map_shows_every_page() -> None:
    shown = {(DOCS / target.split("#")[0]).resolve() for target in LINK.findall((DOCS / "README.md").read_text())}
    pages_of_docs = {
        page for page in DOCS.rglob("*.md") if page.parent.name != "decisions" and page != DOCS / "README.md"
    }
    assert pages_of_docs <= shown


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ("up --nonsense", "no flag"),
        ("nonsense", "no command"),
        ("variables nonsense", "no command"),
        ("server nonsense", "invalid choice"),
        ("server token create --names x", "required"),
        ("server token revoke --nonsense", "required"),
        ("admin verify --nonsense", "unrecognized"),
    ],
)
def test_a_command_that_does_not_exist_is_found(arguments: str, fault: str) -> None:
    assert fault in str(_fault_of(arguments.split()))


def test_commands_are_read_out_of_blocks_and_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Say `trackside up`, or `sudo make demo`.\n\n```sh\n"
        'trackside login --token "$(bin/trackside server token --name me)"  # trackside not this\n'
        "curl x | trackside scale 3; make stop\n```\n\n```text\ntrackside nor this\n```\n"
    )
    assert _commands(page, "trackside") == [
        ["login", "--token", "X"],
        ["scale", "3"],
        ["up"],
        ["server", "token", "--name", "me"],
    ]
    assert _commands(page, "make") == [["stop"], ["demo"]]
