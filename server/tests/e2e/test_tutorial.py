"""The tutorial, typed as it stands: every command in its order, and every line that it shows for them.

What differs from reader to reader is settled here and nowhere else: the token, the ports, the home directory, the machine's name.
"""

import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from e2e.conftest import CHECKOUT, Trackside, until

TUTORIAL = CHECKOUT / "docs" / "tutorial.md"
IN_THE_CLONE = ("1. Start the platform", "11. Stop, and start again")
"""Sections whose first block is typed in the clone; all others go on where the one before ended."""
MAY_BE_MISSING = {"Waiting for its turn."}
"""Shown only where there is a turn to wait for."""
TOKEN = "trackside_GLk9…cHLA"
PORTS = {"api": "7700", "edge": "7780"}


@dataclass(frozen=True)
class Block:
    """Commands to type, and what the page shows for them (empty where it shows nothing)."""

    section: str
    commands: str
    shown: str


def blocks() -> list[Block]:
    """The fenced `sh` blocks of the page, each with the `text` block that follows it."""
    found: list[Block] = []
    section = ""
    for heading, language, text in re.findall(
        r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", TUTORIAL.read_text(), re.M | re.S
    ):
        section = heading or section
        if language == "sh":
            found.append(Block(section, text, ""))
        elif language == "text":
            assert not found[-1].shown, f"{section}: what is this shown for?"
            found[-1] = Block(found[-1].section, found[-1].commands, text)
        else:
            assert not language, f"{section}: a block that nobody would type: {language}"
    return found


@dataclass
class Reader:
    """Somebody at a shell, who has only what the page says."""

    trackside: Trackside
    home: Path
    directory: Path = CHECKOUT
    path: str = ""
    token: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        platform = self.trackside.cli.environment
        self.environment = {name: value for name, value in platform.items() if name != "TRACKSIDE_TOKEN"}
        self.environment |= {"HOME": str(self.home), "NO_PROXY": "*"}
        self.path = self.environment["PATH"]

    def type(self, block: Block) -> None:
        """Type a block; where the shell says other than the page shows, `differences` has it."""
        if block.section in IN_THE_CLONE and "make" in block.commands:
            self.directory = CHECKOUT
        code, said = self.run(self.as_here(block.commands))
        assert code == (1 if re.search(r"^FAILED:", block.shown, re.M) else 0), f"{block.commands}{said}"
        self.compare(block, said)
        if found := re.search(r"--token (trackside_\S+)", said):
            self.token = found[1]

    def as_here(self, commands: str) -> str:
        commands = commands.replace(TOKEN, self.token)
        api, edge = self.trackside.status["api_url"].rsplit(":", 1)[1], str(self.trackside.edge_port)
        return commands.replace(f":{PORTS['edge']}", f":{edge}").replace(f":{PORTS['api']}", f":{api}")

    def run(self, commands: str) -> tuple[int, str]:
        """In one shell; the next one goes on in its directory and with its PATH."""
        left = self.home / "left"
        outcome = subprocess.run(
            ["/bin/bash", "-e", "-c", f'trap \'printf "%s\\n" "$PWD" "$PATH" > {left}\' EXIT\n{commands}'],
            cwd=self.directory,
            env={**self.environment, "PATH": self.path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        directory, self.path = left.read_text().splitlines()
        self.directory = Path(directory)
        return outcome.returncode, outcome.stdout

    def compare(self, block: Block, said: str) -> None:
        """Every line that the page shows is said, in that order."""
        mine = said.replace(str(self.home), "/root").replace(socket.gethostname(), "vm")
        rest = plain(mine)
        for line in block.shown.splitlines():
            wanted = plain(line)
            if wanted in ("", "…") or (line.strip() in MAY_BE_MISSING and wanted not in rest):
                continue
            _, found, after = rest.partition(wanted)
            if found:
                rest = after
            else:
                self.differences.append(
                    f"{block.section}: the page shows\n  {line}\nand what was said goes on with\n  {rest[:300]}"
                )


def plain(text: str) -> str:
    """A text without what differs from one time to the next: ids, tokens, numbers, moments; blanks are one."""
    for pattern, word in (
        # A terminal is told the day and the second, a pipe all of it.
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z|[A-Z][a-z]{2} \d\d? \d\d:\d\d:\d\d", "MOMENT"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"(?<=replica )[0-9a-f]{4}\b", "R"),
        (r"trackside_[\w…-]+", "TOKEN"),
        (r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b", "MONTH"),
        (r"\d+(\.\d+)*", "N"),
        (r"just now|N \w+ ago", "AGO"),
        (r"─+|\s+", " "),
    ):
        text = re.sub(pattern, word, text)
    return text.strip()


@pytest.fixture
def reader(trackside: Trackside, tmp_path: Path) -> Iterator[Reader]:
    yield Reader(trackside, tmp_path)
    trackside.cli.run("server", "start")  # the tutorial stops it
    for project in ("hello", "demo"):
        trackside.cli.run("project", "delete", project, "--yes", ok=False)


def is_at_rest(trackside: Trackside) -> bool:
    """Whether all that was asked of the app has happened: readers are slower than tests."""
    for project in trackside.cli.json("status"):
        for instance in (one for e in project["environments"] for one in e["service_instances"]):
            latest, replicas = instance["latest_deployment"], instance["replicas"]
            is_ended = latest is None or latest["status"] in ("SUCCESS", "FAILED")
            if not is_ended or replicas["wanted"] != replicas["healthy"]:
                return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_does_what_it_says(reader: Reader, trackside: Trackside) -> None:
    typed = blocks()
    assert len(typed) > 15
    for block in typed:
        if block.commands.startswith("trackside project delete"):
            again, said = reader.run(f"cd {CHECKOUT} && make demo")
            assert (again, "deployed already" in said) == (0, True), said
            for environment, greeting in (("production", "Good morning"), ("staging", "Hi")):
                answer = reader.run(reader.as_here(f"curl -sS http://hello-{environment}.localhost:7780"))[1]
                assert answer.startswith(f"{greeting} from replica "), answer
        until(lambda: is_at_rest(trackside), 60, f"at rest before {block.commands}")
        reader.type(block)
    assert "hello" not in [project["name"] for project in trackside.cli.json("status")]
    assert reader.differences == [], "\n".join(reader.differences)
